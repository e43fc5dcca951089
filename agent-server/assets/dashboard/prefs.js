// What this browser remembers: theme, language, shortcuts; the key of this tab.

function read(store, name) {
  try {
    return store().getItem(name);
  } catch {
    return null; // storage may be forbidden
  }
}

function write(store, name, value) {
  try {
    if (value === null) store().removeItem(name);
    else store().setItem(name, value);
  } catch {
    // it lasts as long as the page, then
  }
}

const local = () => localStorage;
const tab = () => sessionStorage;
let key = read(tab, 'key');

export const remember = (name, value) => write(local, name, value);
export const remembered = name => read(local, name);

/** The bearer key: of this tab only, gone with it. */
export const bearer = () => key;
export function setBearer(value) {
  key = value || null;
  write(tab, 'key', key);
}

/** `auto`, `light` or `dark`. */
export const theme = () => remembered('theme') ?? 'auto';
export function setTheme(value) {
  remember('theme', value);
  applyTheme();
}
export function applyTheme() {
  const chosen = theme();
  if (chosen === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}
