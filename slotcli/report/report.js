// The viewer of a result: the clip beside its objects, the timeline, the rows of objects, their paths.
"use strict";
{
  const { clip, count, labelsOf, video, pictureOf } = openClip();
  const OUTSIDE = 255;
  const ABSENT = 65535; // of a place in 16 bits
  const JUMP = 0.08; // of the clip's width, from one frame to the next
  const DIMMED = 0x99000000; // black over what is outside the crop, or not the object shown alone
  const element = (id) => document.getElementById(id);
  const [centres, places] = [clip.centre, clip.number].map((text) => new Uint16Array(bytesOf(text).buffer));

  const state = {
    index: 0,
    shown: new Set(clip.ids.filter((id) => id !== 0)),
    solo: null,
    view: "beside",
    opacity: Number(element("opacity").value),
    wipe: 0.5,
  };

  // Painting.

  const canvases = [element("clip"), element("masks")];
  const [clipPen, maskPen] = canvases.map((canvas) => canvas.getContext("2d"));
  const tint = document.createElement("canvas");
  tint.width = clip.width;
  tint.height = clip.height;
  const tintPen = tint.getContext("2d");
  const image = tintPen.createImageData(clip.width, clip.height);
  const pixels = new Uint32Array(image.data.buffer);

  // A colour as #rrggbb, as the little-endian word of an RGBA pixel.
  const wordOf = (colour, opacity) =>
    ((Math.round(opacity * 255) << 24) | (parseInt(colour.slice(5, 7), 16) << 16) |
      (parseInt(colour.slice(3, 5), 16) << 8) | parseInt(colour.slice(1, 3), 16)) >>> 0;
  const isShown = (id) => (state.solo === null ? state.shown.has(id) : state.solo === id);

  function paintTint(labels) {
    const fill = new Uint32Array(256), line = new Uint32Array(256);
    const others = state.solo === null ? 0 : DIMMED;
    clip.ids.forEach((id, place) => {
      fill[id] = isShown(id) ? wordOf(clip.colours[place], state.opacity) : others;
      line[id] = isShown(id) && id !== 0 ? wordOf(clip.colours[place], 1) : fill[id];
    });
    fill[OUTSIDE] = line[OUTSIDE] = DIMMED;
    const edges = element("outlines").checked ? line : fill;
    const { width, height } = clip;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const label = labels[at];
        const inner = (x === 0 || labels[at - 1] === label) && (x === width - 1 || labels[at + 1] === label) &&
          (y === 0 || labels[at - width] === label) && (y === height - 1 || labels[at + width] === label);
        pixels[at] = inner ? fill[label] : edges[label];
      }
    }
    tintPen.putImageData(image, 0, 0);
  }

  function paintNumbers(pen, { width, height }) {
    const size = Math.max(12, Math.min(26, width / 45));
    pen.font = `600 ${size}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    clip.ids.forEach((id, place) => {
      const at = 2 * (state.index * clip.ids.length + place);
      if (id === 0 || !isShown(id) || places[at] === ABSENT) return;
      const half = Math.max(size * 0.7, pen.measureText(id).width / 2 + size * 0.3);
      const within = (place, side, margin) => Math.max(margin, Math.min(side - margin, (place / (ABSENT - 1)) * side));
      const x = within(places[at], width, half), y = within(places[at + 1], height, size * 0.7);
      pen.fillStyle = "#14161acc";
      pen.beginPath();
      pen.roundRect(x - half, y - size * 0.7, 2 * half, size * 1.4, size * 0.35);
      pen.fill();
      pen.fillStyle = "#fff";
      pen.fillText(id, x, y + size * 0.06);
    });
  }

  function paint(labels) {
    // The video's sides are even, the labels' may be one pixel less.
    const picture = (pen, { width, height }) => {
      pen.fillStyle = "#30363d";
      pen.fillRect(0, 0, width, height);
      if (video.readyState >= 2) pen.drawImage(video, 0, 0, clip.width, clip.height, 0, 0, width, height);
    };
    picture(clipPen, canvases[0]);
    const { width, height } = canvases[1];
    picture(maskPen, canvases[1]);
    paintTint(labels);
    const from = state.view === "wipe" ? state.wipe : 0;
    maskPen.save();
    maskPen.beginPath();
    maskPen.rect(from * width, 0, width, height);
    maskPen.clip();
    maskPen.drawImage(tint, 0, 0, width, height);
    if (element("numbers").checked) paintNumbers(maskPen, canvases[1]);
    maskPen.restore();
    if (state.view === "wipe") {
      maskPen.fillStyle = "#fff";
      maskPen.fillRect(from * width - 1, 0, 2, height);
    }
  }

  async function repaint() {
    const index = state.index;
    try {
      const labels = await labelsOf(index);
      if (index !== state.index) return;
      paint(labels);
      element("stage").dataset.painted = index;
    } catch (error) {
      trouble(`This browser cannot unpack the masks: ${error.message}`);
    }
  }

  function trouble(text) {
    element("trouble").textContent = text;
    element("trouble").hidden = false;
  }

  // Moving through the frames.

  const clock = (seconds) => {
    const whole = Math.round(Math.abs(seconds) * 10) / 10, minutes = Math.floor(whole / 60);
    const rest = (whole - 60 * minutes).toFixed(1).padStart(4, "0");
    return `${seconds < 0 ? "-" : ""}${Math.floor(minutes / 60) ? `${Math.floor(minutes / 60)}:` : ""}` +
      `${String(minutes % 60).padStart(minutes >= 60 ? 2 : 1, "0")}:${rest}`;
  };

  function tell(index) {
    state.index = index;
    element("frame").value = index;
    const text = `${clock(clip.times[index])}  frame ${clip.indices[index]}`;
    element("readout").textContent = text;
    element("frame").setAttribute("aria-valuetext", text);
    document.body.style.setProperty("--at", count > 1 ? index / (count - 1) : 0);
  }

  function go(index) {
    tell(Math.max(0, Math.min(count - 1, index)));
    if (video.src && !video.seeking) seek();
    else if (!video.src) repaint();
  }

  function seek() {
    // The middle of a frame: its beginning may be rounded into the one before.
    const wanted = (clip.pictures[state.index] + 0.5) / clip.rate;
    seek.index = state.index;
    if (Math.abs(video.currentTime - wanted) < 0.01 / clip.rate) repaint();
    else video.currentTime = wanted;
  }
  video.addEventListener("seeked", () => {
    if (seek.index !== state.index && video.paused) seek();
    else repaint();
  });

  function frameAt(seconds) {
    let picture = Math.floor(seconds * clip.rate + 0.01);
    while (picture > 0 && !pictureOf.has(picture)) picture--; // a picture of a frame that was left out
    return pictureOf.get(picture) ?? 0;
  }
  function follow(now, frame) {
    if (video.paused) return;
    const index = frameAt(frame ? frame.mediaTime : video.currentTime);
    if (index !== state.index) tell(index);
    repaint();
    labelsOf(Math.min(count - 1, index + 1));
    next();
  }
  const next = () =>
    "requestVideoFrameCallback" in video ? video.requestVideoFrameCallback(follow) : requestAnimationFrame(follow);

  function play(wanted) {
    if (!video.src || count < 2) return;
    if (!wanted) return video.pause();
    if (state.index === count - 1) go(0);
    video.play().then(next, (error) => trouble(`The clip cannot be played: ${error.message}`));
  }
  const showPlaying = () => {
    element("play").textContent = video.paused ? "Play" : "Pause";
    element("play").setAttribute("aria-pressed", String(!video.paused));
  };
  for (const kind of ["play", "pause", "ended"]) video.addEventListener(kind, showPlaying);
  video.addEventListener("pause", () => go(video.ended ? count - 1 : state.index));
  video.addEventListener("loadeddata", () => go(state.index));
  video.addEventListener("error", () => {
    trouble("This browser cannot play the clip, so the masks are shown without it.");
    video.removeAttribute("src");
    repaint();
  });

  const step = (by) => { video.pause(); go(state.index + by); };
  element("back").addEventListener("click", () => step(-1));
  element("forward").addEventListener("click", () => step(1));
  element("play").addEventListener("click", () => play(video.paused));
  element("play").disabled = !clip.video || count < 2;
  element("frame").addEventListener("input", (event) => { video.pause(); go(Number(event.target.value)); });
  for (const button of document.querySelectorAll("[data-frame]"))
    button.addEventListener("click", () => { video.pause(); go(Number(button.dataset.frame)); });

  // Tracks take the pointer as the slider above them does.
  element("tracks").addEventListener("pointerdown", (event) => {
    const track = event.target.closest(".track");
    if (!track) return;
    const { left, width } = track.getBoundingClientRect();
    const scrub = ({ clientX }) => { video.pause(); go(Math.round(((clientX - left) / width) * (count - 1))); };
    const end = () => {
      removeEventListener("pointermove", scrub);
      removeEventListener("pointerup", end);
    };
    addEventListener("pointermove", scrub);
    addEventListener("pointerup", end);
    scrub(event);
    event.preventDefault();
  });

  // Objects.

  const rows = new Map([...document.querySelectorAll(".row")].map((row) => [Number(row.dataset.id), row]));
  const lines = new Map();

  function showObjects() {
    for (const [id, row] of rows) {
      row.querySelector("input").checked = state.shown.has(id);
      row.querySelector(".solo").setAttribute("aria-pressed", String(state.solo === id));
      row.classList.toggle("off", !isShown(id));
      lines.get(id)?.toggleAttribute("hidden", !isShown(id));
    }
    repaint();
  }
  function toggle(id) {
    if (!rows.has(id)) return;
    state.solo = null;
    if (!state.shown.delete(id)) state.shown.add(id);
    showObjects();
  }
  function solo(id) {
    if (!rows.has(id)) return;
    state.solo = state.solo === id ? null : id;
    showObjects();
  }
  function showAll(ids) {
    state.solo = null;
    state.shown = new Set(ids);
    showObjects();
  }
  for (const [id, row] of rows) {
    row.querySelector("input").addEventListener("change", () => toggle(id));
    row.querySelector(".solo").addEventListener("click", () => solo(id));
  }
  const objects = clip.ids.filter((id) => id !== 0);
  element("all").addEventListener("click", () => showAll(objects));
  element("none").addEventListener("click", () => showAll([]));
  canvases[1].addEventListener("click", async (event) => {
    const box = canvases[1].getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * clip.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * clip.height);
    const label = (await labelsOf(state.index))[y * clip.width + x];
    if (rows.has(label)) solo(label);
  });

  // Paths.

  const svg = element("path-lines");
  const [wide, high] = [1000 * Math.max(1, clip.aspect), 1000 * Math.max(1, 1 / clip.aspect)];
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  const make = (name, values, parent) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    return parent.appendChild(made);
  };
  const every = Math.ceil(count / 1000);
  clip.ids.forEach((id, place) => {
    if (id === 0 || !rows.has(id)) return;
    const group = make("g", { stroke: clip.colours[place], fill: "none" }, svg);
    const points = [];
    let path = "", gap = true;
    for (let index = 0; index < count; index += every) {
      const at = 2 * (index * clip.ids.length + place);
      if (centres[at] === ABSENT) { gap = true; continue; }
      // A jump is no motion: the slot has gone over to something else.
      const last = points.at(-1);
      const point = [(centres[at] / (ABSENT - 1)) * wide, (centres[at + 1] / (ABSENT - 1)) * high];
      if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) > JUMP * every * wide) gap = true;
      path += `${gap ? "M" : "L"}${point.map((value) => value.toFixed(1)).join(" ")}`;
      gap = false;
      points.push(point);
    }
    if (points.length) {
      make("path", { d: path, class: "halo" }, group);
      make("path", { d: path }, group);
      const [[x, y], [endX, endY]] = [points[0], points[points.length - 1]];
      make("circle", { cx: x, cy: y, r: high / 70 }, group);
      make("circle", { cx: endX, cy: endY, r: high / 90, fill: clip.colours[place] }, group);
      make("text", { x: endX, y: endY - high / 45 }, group).textContent = id;
    }
    lines.set(id, group);
  });

  // View and keys.

  const views = [...document.querySelectorAll("button[data-view]")];
  function look(view) {
    state.view = view;
    element("stage").dataset.view = view;
    element("wipe-label").hidden = view !== "wipe";
    for (const button of views) button.setAttribute("aria-pressed", String(button.dataset.view === view));
    fitCanvases();
  }
  for (const button of views) button.addEventListener("click", () => look(button.dataset.view));
  for (const name of ["opacity", "wipe"])
    element(name).addEventListener("input", (event) => { state[name] = Number(event.target.value); repaint(); });
  for (const name of ["numbers", "outlines"]) element(name).addEventListener("change", repaint);

  function fitCanvases() {
    for (const canvas of canvases) {
      const width = Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio));
      if (!width || width === canvas.width) continue;
      canvas.width = width;
      canvas.height = Math.max(1, Math.round(width / clip.aspect));
    }
    repaint();
  }

  const keys = {
    ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
    Home: () => step(-count),
    End: () => step(count),
    " ": () => play(video.paused),
    v: () => look(views[(views.findIndex((own) => own.dataset.view === state.view) + 1) % views.length].dataset.view),
    0: () => showAll(objects),
  };
  addEventListener("keydown", (event) => {
    const { target, code } = event;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const digit = /^Digit([1-9])$/.exec(code);
    if (digit) {
      (event.shiftKey ? solo : toggle)(Number(digit[1]));
      return event.preventDefault();
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const onControl = target.closest("button, summary, a, input:not([type=range])");
    const onSlider = target.closest("input[type=range]");
    if ((key === " " && onControl) || (onSlider && key !== " " && key.length > 1)) return;
    if (!keys[key]) return;
    keys[key](event);
    event.preventDefault();
  });

  document.body.style.setProperty("--aspect", clip.aspect);
  new ResizeObserver(fitCanvases).observe(element("stage"));
  showObjects();
  go(0);
}
