// A provider's form, drawn from the catalogue. No input has a name, so that a plain submit would carry nothing.

/** Draw the options of one provider into `place`. */
export function draw(place, options) {
  place.replaceChildren(...options.map(field));
}

/** The values that were typed, by option name; an empty optional one is left out, so that its default holds. */
export function read(options) {
  const values = {};
  for (const option of options) {
    const input = document.getElementById(inputId(option));
    if (option.type === "flag") values[option.name] = input.checked;
    else if (input.value === "" && !option.required) continue;
    else values[option.name] = option.type === "number" ? Number(input.value) : input.value;
  }
  return values;
}

/** Take every typed value out of the page. */
export function clear(form) {
  for (const input of form.querySelectorAll("#options input, #options textarea")) {
    if (input.type === "checkbox") input.checked = input.defaultChecked;
    else input.value = "";
  }
}

const inputId = (option) => `option-${option.name}`;

function field(option) {
  if (option.type === "flag") return flag(option);
  const label = element("label", { htmlFor: inputId(option), textContent: option.label });
  if (!option.required) label.append(" ", element("span", { className: "optional", textContent: "optional" }));
  const parts = [label, input(option)];
  if (option.help) parts.push(help(option));
  const box = element("div", { className: "field" });
  box.append(...parts);
  return box;
}

function input(option) {
  const kind = option.choices.length ? "select" : option.multiline ? "textarea" : "input";
  const made = element(kind, { id: inputId(option), required: option.required, autocomplete: "off", spellcheck: false });
  if (kind === "select") made.append(...option.choices.map(([value, text]) => new Option(text, value)));
  if (kind === "input") made.type = option.type === "number" ? "number" : option.secret ? "password" : option.ends === "date" ? "date" : "text";
  // a password manager must neither fill these in nor keep them
  if (option.secret && kind === "input") made.autocomplete = "new-password";
  if (option.secret) made.className = "secret";
  made.dataset.lpignore = made.dataset["1pIgnore"] = "true";
  if (option.placeholder) made.placeholder = option.placeholder;
  if (option.default !== null && option.default !== "" && !option.secret) made.value = String(option.default);
  if (option.help) made.setAttribute("aria-describedby", `${inputId(option)}-help`);
  return made;
}

function flag(option) {
  const box = element("input", { id: inputId(option), type: "checkbox", defaultChecked: option.default === true });
  const text = element("span", { textContent: `${option.label} ` });
  if (option.help) text.append(element("span", { className: "help", textContent: option.help }));
  const label = element("label", { className: "check" });
  label.append(box, text);
  return label;
}

function help(option) {
  return element("p", { className: "help", id: `${inputId(option)}-help`, textContent: option.help });
}

function element(name, members) {
  return Object.assign(document.createElement(name), members);
}
