// The clip that the page holds: its labels, unpacked when they are asked for, and its video.
"use strict";
function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

function openClip() {
  const CACHED = 48; // label images
  const embedded = document.getElementById("clip-data");
  const clip = embedded ? JSON.parse(embedded.textContent) : window.slotcliClip;
  const packed = bytesOf(clip.labels);
  const ends = [];
  clip.lengths.reduce((sum, length, index) => (ends[index] = sum + length), 0);

  // A promise of the labels of a frame, row by row.
  const cache = new Map();
  function labelsOf(index) {
    let labels = cache.get(index);
    if (!labels) {
      const part = packed.subarray(ends[index] - clip.lengths[index], ends[index]);
      const stream = new Blob([part]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
      labels = new Response(stream).arrayBuffer().then((buffer) => new Uint8Array(buffer));
      cache.set(index, labels);
      if (cache.size > CACHED) cache.delete(cache.keys().next().value);
    }
    return labels;
  }

  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.preload = "auto";
  if (clip.video.startsWith("data:")) {
    const content = bytesOf(clip.video.slice(clip.video.indexOf(",") + 1));
    video.src = URL.createObjectURL(new Blob([content], { type: "video/mp4" }));
  } else if (clip.video) {
    video.src = clip.video;
  }
  const pictureOf = new Map(clip.pictures.map((picture, index) => [picture, index]));
  return { clip, count: clip.times.length, labelsOf, video, pictureOf };
}
