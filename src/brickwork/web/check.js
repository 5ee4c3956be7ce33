// Says plainly what is missing. A classic script, so that it runs where modules do not: from a file, in an old browser.
"use strict";

(function () {
  // A function that puts a number in all lanes of a 128-bit vector.
  const simd = new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version
    0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, // a type: () -> v128
    0x03, 0x02, 0x01, 0x00, // one function of that type
    0x0a, 0x08, 0x01, 0x06, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0x0b, // i32.const 0, i8x16.splat
  ]);

  function missing() {
    if (location.protocol === "file:") {
      return "This page was opened as a file, and browsers run no modules from there: run `brickwork serve` on this folder and open the address it prints.";
    }
    if (!window.isSecureContext || !window.crypto || !crypto.subtle) {
      return "This address is not secure, so the browser does not let the page check its files: open it at http://localhost or over https.";
    }
    if (typeof WebAssembly !== "object") {
      return "This browser has no WebAssembly, or it is switched off: allow it, or take a current browser.";
    }
    if (!WebAssembly.validate(simd)) {
      return "This browser's WebAssembly has no SIMD: take a current Chrome, Edge, Firefox or Safari (16.4 or later).";
    }
    if (typeof Worker !== "function" || typeof BigInt64Array !== "function" || !("noModule" in HTMLScriptElement.prototype)) {
      return "This browser is too old to draw here: take a current Chrome, Edge, Firefox or Safari (16.4 or later).";
    }
    return "";
  }

  const said = missing();
  document.getElementById("patience").hidden = said !== "";
  if (said) {
    const line = document.getElementById("trouble");
    line.textContent = said;
    line.hidden = false;
    document.documentElement.dataset.cannot = "true";
  }
})();
