"""The papers' tables as runnable studies: data, trainings, figures, in folders that resume."""
