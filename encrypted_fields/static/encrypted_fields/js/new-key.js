// A recipient makes a key pair: the key file is saved, and only then the public half is sent.

import { newKey, protect, text } from "./keys.js";
import { ready } from "./ready.js";

function start(form) {
  const at = (name) => form.querySelector(`[data-cmk-${name}]`);
  const trouble = form.querySelector(".cmk-trouble");
  form.addEventListener("submit", async (event) => {
    if (at("public").value) return; // made and saved: this submit carries the public half, and nothing else
    event.preventDefault();
    trouble.hidden = true;
    try {
      if (at("passphrase").value !== at("again").value) throw new Error("The two passphrases differ.");
      const key = await newKey();
      const file = await protect(key, at("passphrase").value);
      sodium.memzero(key.privateKey);
      at("passphrase").value = at("again").value = "";
      at("passphrase").required = at("again").required = false;
      at("save").href = URL.createObjectURL(new Blob([file], { type: "application/json" }));
      at("save").download = `sealing-key-${key.id.slice(0, 8)}.json`;
      at("print").textContent = key.id;
      at("public").value = text(key.publicKey);
      at("make").hidden = true;
      at("made").hidden = false;
      at("save").focus();
    } catch (error) {
      trouble.textContent = error.message;
      trouble.hidden = false;
    }
  });
  at("save").addEventListener("click", () => (at("send").disabled = false));
  ready(form);
}

for (const form of document.querySelectorAll("form[data-cmk-new-key]")) start(form);
