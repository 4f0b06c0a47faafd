// A policy that keeps what it is told in every place that JavaScript has for it,
// and rejects if a session before it has left something there.
let number = 0;
let text = "";
const list = [];
const table = new Map();
const octets = new Uint8Array(1 << 14);
let closure;

// What a hook costs: the reverse-path and the first recipient are asked for.
export function onData(s) {
  return String(s.mailFrom) === "" || s.rcpts[0].local === "" ? s.reject() : undefined;
}

export function onRcpt(s) {
  if (number !== 0 || text !== "" || list.length !== 0 || table.size !== 0 || closure !== undefined || octets.some((b) => b !== 0) ||
      globalThis.left !== undefined || Object.prototype.left !== undefined || Math.sin(0) !== 0 || onRcpt.left !== undefined) {
    return s.reject();
  }
  let secret = ++number;
  text = "secret ".repeat(100);
  octets.fill(0x5e);
  for (let k = 0; k < 100; k++) {
    list.push("secret " + k);
    table.set(list[k], { secret: k });
  }
  closure = () => ++secret;
  globalThis.left = closure();
  Object.prototype.left = text;
  Math.sin = closure;
  onRcpt.left = list;
  return s.accept();
}
