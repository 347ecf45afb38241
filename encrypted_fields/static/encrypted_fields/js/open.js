// A page with sealed values: the recipient gives a key file and its passphrase, or a pasted key, and reads them here.

import { open } from "./envelope.js";
import { base64, pasted, unprotect } from "./keys.js";
import { ready } from "./ready.js";

async function bytesOf(place) {
  if (place.dataset.sealed) return base64(place.dataset.sealed);
  const answer = await fetch(place.dataset.url, { cache: "no-store", credentials: "same-origin" });
  if (!answer.ok) throw new Error("The sealed file could not be fetched.");
  return new Uint8Array(await answer.arrayBuffer());
}

async function show(place, key) {
  const found = open(await bytesOf(place), key, base64(place.dataset.place));
  if ("text" in found) {
    place.textContent = found.text;
  } else {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(found.blob);
    link.download = found.name;
    link.textContent = found.name;
    place.replaceChildren(link);
  }
  place.dataset.state = "open";
}

async function keyOf(form) {
  const [file] = form.querySelector("[data-cmk-key-file]").files;
  const phrase = form.querySelector("[data-cmk-passphrase]");
  const raw = form.querySelector("[data-cmk-key]");
  try {
    if (file) return await unprotect(await file.text(), phrase.value);
    return await pasted(raw?.value ?? "");
  } finally {
    phrase.value = "";
    if (raw) raw.value = "";
  }
}

function start(form) {
  const trouble = form.querySelector(".cmk-trouble");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    trouble.hidden = true;
    let key;
    try {
      key = await keyOf(form);
      for (const place of document.querySelectorAll("[data-cmk-sealed]")) await show(place, key);
      form.hidden = true;
    } catch (error) {
      trouble.textContent = error.message;
      trouble.hidden = false;
    } finally {
      if (key) sodium.memzero(key.privateKey);
    }
  });
  ready(form);
}

for (const form of document.querySelectorAll("form[data-cmk-open]")) start(form);
