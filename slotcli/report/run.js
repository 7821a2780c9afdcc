// Shows the masks of one training step, which the slider chooses. Without scripts all steps are listed.
"use strict";
{
  const scrubber = document.getElementById("scrubber");
  if (scrubber) {
    const list = document.getElementById("sheets"), sheets = [...list.querySelectorAll(".sheet")];
    const slider = document.getElementById("step"), all = document.getElementById("all");
    const chosen = document.getElementById("chosen");
    const show = () => {
      sheets.forEach((sheet, index) => { sheet.hidden = !all.checked && index !== Number(slider.value); });
      list.classList.toggle("single", !all.checked);
      slider.disabled = all.checked;
      chosen.textContent = all.checked ? "" : `Step ${sheets[slider.value].dataset.step}`;
      slider.setAttribute("aria-valuetext", `step ${sheets[slider.value].dataset.step}`);
    };
    // Images are read when they are first wanted; from the first touch on, all of them, so that none flashes.
    slider.addEventListener("input", () => {
      for (const image of list.querySelectorAll("img")) image.loading = "eager";
      show();
    });
    all.addEventListener("change", show);
    scrubber.hidden = false;
    show();
  }
}
