// Shows a mail while it is written: presses the button that a person without a script presses.
"use strict";

(() => {
  const button = document.querySelector("button[data-live-preview]");
  if (!button) return;
  const { form, formTarget } = button;
  const PAUSE_MILLISECONDS = 700;
  let waiting = 0;
  let shown = "";

  const show = () => {
    const written = JSON.stringify(["subject", "text_body", "layout", "source"].map((name) => form.elements[name].value));
    if (written === shown) return;
    shown = written;
    // The first page of a new frame adds nothing to the browser's history.
    const frame = document.querySelector(`iframe[name="${formTarget}"]`);
    frame.replaceWith(frame.cloneNode());
    form.requestSubmit(button);
  };

  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, PAUSE_MILLISECONDS);
  });
  // Of two submissions of a form at the same moment browsers keep the last: a preview must not replace a save.
  form.addEventListener("submit", (event) => {
    if (event.submitter !== button) clearTimeout(waiting);
  });
  if (form.elements.source.value || form.elements.text_body.value) show();
})();
