"use strict";
// Pictures are decoded when their section is first opened: a report of many images opens at once.

function setUpImage(section) {
  const data = JSON.parse(section.querySelector("script.data").textContent);
  const find = (selector) => section.querySelector(selector);
  const pictures = new Map(data.pictures.map((picture) => [picture.name, picture]));
  const stage = find(".stage"), split = find(".split"), box = find(".cropbox");
  const left = find("select.left"), right = find("select.right");
  const centre = { x: data.centre[0] + 0.5, y: data.centre[1] + 0.5 };
  find(".slide").style.setProperty("--ratio", String(data.width / data.height));

  // -- before and after ------------------------------------------------------------------
  function showPair() {
    const [a, b] = [pictures.get(left.value), pictures.get(right.value)];
    const over = find(".over"), under = find(".under");
    over.src = a.overview;
    under.src = b.overview;
    over.alt = `Left of the divider: ${a.name}`;
    under.alt = `Right of the divider: ${b.name}`;
    find(".tag-left").textContent = a.name;
    find(".tag-right").textContent = b.name;
  }
  function showSplit() {
    const value = Number(split.value);
    stage.style.setProperty("--split", `${value}%`);
    split.setAttribute("aria-valuetext",
      `${Math.round(value)} % ${left.value}, ${Math.round(100 - value)} % ${right.value}`);
    find(".tag-left").hidden = value < 8;
    find(".tag-right").hidden = value > 92;
  }
  for (const select of [left, right]) {
    select.addEventListener("change", () => { showPair(); showSplit(); });
  }
  find(".swap").addEventListener("click", () => {
    [left.value, right.value] = [right.value, left.value];
    showPair();
    showSplit();
  });
  split.addEventListener("input", showSplit);

  // On the picture itself, a drag moves the divider and a click moves the crop.
  let pressedAt = null, dragging = false;
  const place = (event) => {
    const frame = stage.getBoundingClientRect();
    return { x: (event.clientX - frame.left) / frame.width, y: (event.clientY - frame.top) / frame.height };
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pressedAt = { x: event.clientX, y: event.clientY };
    dragging = false;
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (pressedAt === null) return;
    if (Math.abs(event.clientX - pressedAt.x) > 4) dragging = true;
    if (dragging) {
      split.value = String(100 * place(event).x);
      showSplit();
    }
  });
  stage.addEventListener("pointerup", (event) => {
    if (pressedAt !== null && !dragging) {
      const at = place(event);
      moveCrop(at.x * data.width, at.y * data.height);
    }
    pressedAt = null;
  });
  stage.addEventListener("pointercancel", () => { pressedAt = null; });

  // -- the same crop of every picture ----------------------------------------------------
  const chosen = (what) => section.querySelector(`input[name="${section.id}-${what}"]:checked`).value;
  const cells = [];
  const images = new Map();
  function decoded(uri) {
    if (!images.has(uri)) {
      const image = new Image();
      image.addEventListener("load", drawCrops);
      image.src = uri;
      images.set(uri, image);
    }
    const image = images.get(uri);
    return image.complete && image.naturalWidth > 0 ? image : null;
  }
  // Where a source lies on the image: pictures of large images are smaller than the image, and
  // what there is at full size is a part of it.
  function sourceOf(picture, show) {
    const whole = { x: 0, y: 0, w: data.width, h: data.height };
    if (show === "removed") return { uri: picture.removed, at: data.region };
    if (show === "error") return { uri: picture.error, at: data.region };
    return picture.detail ? { uri: picture.detail, at: data.region } : { uri: picture.overview, at: whole };
  }
  function bounds() {
    const part = data.pictures.some((p) => p.detail) || chosen("show") !== "picture";
    return part ? data.region : { x: 0, y: 0, w: data.width, h: data.height };
  }
  function cropRectangle() {
    const limits = bounds();
    // The side follows from the width on the screen, so that 2:1 is 2:1.
    const shown = cells.find(({ item }) => !item.hidden);
    const width = (shown && shown.canvas.clientWidth) || 290;
    const side = Math.min(Math.floor(width / Number(chosen("zoom"))), limits.w, limits.h);
    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
    const x = clamp(Math.round(centre.x - side / 2), limits.x, limits.x + limits.w - side);
    const y = clamp(Math.round(centre.y - side / 2), limits.y, limits.y + limits.h - side);
    return { x, y, side };
  }
  function moveCrop(x, y) {
    centre.x = Math.min(Math.max(x, 0), data.width);
    centre.y = Math.min(Math.max(y, 0), data.height);
    const crop = cropRectangle();
    centre.x = crop.x + crop.side / 2;
    centre.y = crop.y + crop.side / 2;
    drawCrops();
  }
  box.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 32 : 8;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) {
      event.preventDefault();
      moveCrop(centre.x + moves[event.key][0], centre.y + moves[event.key][1]);
    }
  });

  function figureOf(name) {
    const table = document.getElementById(`${section.id}-table`);
    const row = [...table.tBodies[0].rows].find((candidate) => candidate.dataset.method === name);
    const head = table.tHead.rows[0].cells;
    if (!row) return "";
    for (let index = 1; index < head.length; index += 1) {
      const title = head[index].innerText.replace(/\s+/g, " ").trim();
      if (/^(PSNR, affine|Est\. PSNR|Whiteness)/.test(title) && row.cells[index].dataset.value !== "") {
        const value = row.cells[index].firstChild.textContent.trim();
        return title.startsWith("Whiteness") ? `whiteness ${value}` : `${value} dB`;
      }
    }
    return "";
  }
  for (const picture of data.pictures) {
    const item = document.createElement("li"), figure = document.createElement("figure");
    const canvas = document.createElement("canvas"), value = document.createElement("span");
    const caption = document.createElement("figcaption"), name = document.createElement("b");
    canvas.setAttribute("role", "img");
    name.textContent = picture.name;
    value.textContent = figureOf(picture.name);
    caption.append(name, value);
    figure.append(canvas, caption);
    item.append(figure);
    find(".grid").append(item);
    cells.push({ picture, canvas, item });
  }
  const lengthInWords = (nm) => (nm >= 1000 ? `${(nm / 1000).toPrecision(3)} µm` : `${nm.toPrecision(3)} nm`);
  const words = { picture: "crop of", removed: "what was removed by", error: "error of" };
  function drawCrops() {
    const show = chosen("show"), crop = cropRectangle();
    Object.assign(box.style, {
      left: `${(100 * crop.x) / data.width}%`, top: `${(100 * crop.y) / data.height}%`,
      width: `${(100 * crop.side) / data.width}%`, height: `${(100 * crop.side) / data.height}%`,
    });
    const nm = data.pixelSizeNm === null ? "" : ` = ${lengthInWords(crop.side * data.pixelSizeNm)}`;
    find(".field").textContent = `Crop ${crop.side} px${nm} wide, from column ${crop.x}, row ${crop.y}.`;
    for (const { picture, item } of cells) item.hidden = sourceOf(picture, show).uri === null;
    for (const { picture, canvas } of cells) {
      const { uri, at } = sourceOf(picture, show);
      if (uri === null) continue;
      const image = decoded(uri);
      canvas.setAttribute("aria-label", `${picture.name}: ${words[show]} ${picture.name}, `
        + `${Math.round(crop.side)} pixels square at column ${Math.round(crop.x)}, row ${Math.round(crop.y)}`);
      if (image === null) continue;
      const size = Math.max(1, Math.round(canvas.clientWidth * window.devicePixelRatio));
      if (canvas.width !== size) canvas.width = canvas.height = size;
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(image, crop.x - at.x, crop.y - at.y, crop.side, crop.side, 0, 0, size, size);
    }
  }
  section.querySelectorAll(".crops fieldset input").forEach((input) => {
    input.addEventListener("change", () => {
      for (const line of section.querySelectorAll(".reading")) {
        line.hidden = line.dataset.show !== chosen("show");
      }
      drawCrops();
    });
  });
  new ResizeObserver(drawCrops).observe(find(".grid"));
  showPair();
  showSplit();
  drawCrops();
}

document.querySelectorAll("details.image").forEach((section) => {
  const ready = () => {
    if (section.open && !section.dataset.ready) {
      section.dataset.ready = "yes";
      setUpImage(section);
    }
  };
  section.addEventListener("toggle", ready);
  ready();
});
