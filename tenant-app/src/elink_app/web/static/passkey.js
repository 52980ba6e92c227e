// The one thing a page cannot do without a script: let the browser make or use a passkey.
// The form says what to ask for (data-options, as the server wrote it) and takes the answer to the server.
"use strict";

(() => {
  const form = document.querySelector("form[data-options]");
  const again = document.getElementById("passkey-again");

  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (character) => character.charCodeAt(0));
  };
  const text = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const show = (name) => {
    for (const part of document.querySelectorAll("[data-passkey-text]")) {
      part.hidden = part.dataset.passkeyText !== name;
    }
  };
  const withIds = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const make = async (options) => {
    const made = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: withIds(options.excludeCredentials),
      },
    });
    const { response } = made;
    return {
      id: made.id,
      rawId: text(made.rawId),
      type: made.type,
      response: {
        clientDataJSON: text(response.clientDataJSON),
        attestationObject: text(response.attestationObject),
        transports: response.getTransports ? response.getTransports() : [],
      },
    };
  };

  const use = async (options) => {
    const given = await navigator.credentials.get({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        allowCredentials: withIds(options.allowCredentials),
      },
    });
    const { response } = given;
    return {
      id: given.id,
      rawId: text(given.rawId),
      type: given.type,
      response: {
        clientDataJSON: text(response.clientDataJSON),
        authenticatorData: text(response.authenticatorData),
        signature: text(response.signature),
        userHandle: response.userHandle ? text(response.userHandle) : null,
      },
    };
  };

  const ask = async () => {
    again.hidden = true;
    show("asking");
    try {
      const options = JSON.parse(form.dataset.options);
      const answer = await (form.dataset.kind === "new" ? make(options) : use(options));
      form.elements.credential.value = JSON.stringify(answer);
      form.submit();
    } catch (error) {
      show(error.name === "InvalidStateError" ? "known" : "failed");
      again.hidden = false;
    }
  };

  if (!window.PublicKeyCredential || !navigator.credentials) {
    show("unsupported");
    return;
  }
  again.addEventListener("click", ask);
  ask();
})();
