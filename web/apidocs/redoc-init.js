"use strict";
// Fonts are the system's own: the page loads nothing from other hosts.
const fonts = { fontFamily: "system-ui, sans-serif" };
Redoc.init("openapi.json", {
  theme: { typography: { ...fonts, headings: fonts } },
}, document.getElementById("redoc"));
