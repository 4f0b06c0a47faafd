// Headers rewrites header fields of a message that is complete.
export function onMessage(s) {
  const h = s.headers;
  h.delete("X-Spam-Flag");
  const subject = h.get("Subject");
  if (!subject.startsWith("[list] ")) {
    h.set("Subject", "[list] " + subject);
  }
  h.prepend("X-Policy", "checked by wasmta");
}
