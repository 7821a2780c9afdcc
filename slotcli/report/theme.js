// The button that chooses the theme: the system's, light or dark. The choice is kept where the browser lets it.
"use strict";
{
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  const known = () => { try { return localStorage.getItem("slotcli-theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("slotcli-theme", theme); } catch { /* not kept */ } };
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  show(themes.includes(known()) ? known() : "system");
  button.addEventListener("click", () => {
    const theme = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
    show(theme);
    keep(theme);
  });
}
