
const methods = { GET: 1, HEAD: 2, POST: 3, PUT: 4, DELETE: 5, PATCH: 6 };
const parts = { message: 1, body: 2, headers: 3 };
const lines = (fields) => Object.entries(fields ?? {}).map(([k, v]) => `${k}: ${v}`).join("\n");
class Response {
  #handle;
  constructor(handle) { this.#handle = handle; }
  get status() { return check(host.http_wait(this.#handle, -1), "http: wait"); }
  get ok() { return this.status >= 200 && this.status < 300; }
  ready(milliseconds) { return host.http_wait(this.#handle, milliseconds) !== -6; }
  header(name) { return found(host.http_header(this.#handle, string(name))) ?? ""; }
  read(length = 65536) {
    const v = host.http_read(this.#handle, Math.min(Math.max(length, 1), 1 << 20), true);
    return typeof v === "number" ? raise(v, "http: read") : v;
  }
  octets() {
    const list = [];
    let size = 0;
    for (let b; (b = this.read()).length > 0; size += b.length) list.push(b);
    const all = new Uint8Array(size);
    for (const b of list.reverse()) all.set(b, size -= b.length);
    return all;
  }
  text() { return text(this.octets()); }
  json() { return JSON.parse(this.text()); }
  close() { host.http_close(this.#handle); }
}
export const http = Object.freeze({
  start: (url, { method = "GET", headers, body = "", timeout = 0 } = {}) =>
    new Response(check(host.http_start(methods[method] ?? raise(-7, `http: the method ${method}`), string(url), lines(headers),
      data(body), timeout), `http: ${method} ${url}`)),
  fetch: (url, options) => {
    const r = http.start(url, options);
    try {
      r.status;
    } catch (e) {
      r.close();
      throw e;
    }
    return r;
  },
  sendMessage: (url, { what = "message", headers, timeout = 0 } = {}) =>
    new Response(check(host.http_start_msg(string(url), lines(headers), parts[what] ?? raise(-7, `http: ${what}`), timeout),
      `http: send the message to ${url}`)),
});
