// The page's own script, loaded before the terminal's.
"use strict";
(() => {
  // The terminal makes style elements, which the page's policy takes with its nonce only.
  const nonce = document.currentScript.nonce;
  const create = Document.prototype.createElement;
  Document.prototype.createElement = function (name, options) {
    const made = create.call(this, name, options);
    if (String(name).toLowerCase() === "style") made.nonce = nonce;
    return made;
  };
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("again").addEventListener("click", () => location.reload());
    // Keys count without a click, as soon as there is something to see.
    new MutationObserver((_, observer) => {
      if (!document.body.classList.contains("-first-byte")) return;
      observer.disconnect();
      document.querySelector(".xterm-helper-textarea").focus();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    // The terminal measures its font once, when the page is loaded: not before the font is there.
    const start = onload;
    onload = async (event) => {
      await Promise.allSettled(["16px", "bold 16px"].map((size) => document.fonts.load(`${size} "Roboto Mono"`)));
      start(event);
    };
  });
})();
