
const types = { A: 1, NS: 2, CNAME: 5, PTR: 12, MX: 15, TXT: 16, AAAA: 28, SRV: 33, TLSA: 52, CAA: 257 };
const type = (t) => types[t] ?? raise(-7, `dns: the type ${t}`);
const ipv6 = (b) => {
  const part = Array.from({ length: 8 }, (_, i) => (b[2 * i] << 8 | b[2 * i + 1]).toString(16));
  // RFC 5952: the longest run of at least two zeros is shortened, the first of equals.
  let at = -1, most = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (part[i + n] === "0") n++;
    if (n > most) [at, most] = [i, n];
  }
  return at < 0 ? part.join(":") : `${part.slice(0, at).join(":")}::${part.slice(at + most).join(":")}`;
};
const forms = { A: (b) => b.join("."), AAAA: ipv6, TLSA: (b) => b };
export const dns = Object.freeze({
  prefetch: (t, name) => { check(host.dns_prefetch(type(t), string(name)), `dns: prefetch ${t} ${name}`); },
  query: (t, name) => {
    const v = host.dns_query(type(t), string(name), true);
    if (typeof v === "number") raise(v, `dns: ${t} ${name}`);
    const list = [], view = new DataView(v.buffer, v.byteOffset, v.byteLength), form = forms[t] ?? text;
    for (let at = 0; at + 4 <= v.length;) {
      const n = view.getUint32(at, true);
      list.push(form(v.slice(at + 4, at + 4 + n)));
      at += 4 + n;
    }
    return list;
  },
  addresses: (name) => {
    let first;
    const list = [];
    host.dns_prefetch(types.AAAA, string(name)); // its failure shows in the query
    const [four, six] = ["A", "AAAA"].map((t) => {
      try {
        return dns.query(t, name);
      } catch (e) {
        first ??= e;
      }
    });
    if (four === undefined && six === undefined) throw first;
    return list.concat(six ?? [], four ?? []);
  },
  mx: (name) => dns.query("MX", name).map((r) => {
    const at = r.indexOf(" ");
    return { preference: Number(r.slice(0, at)), host: r.slice(at + 1) };
  }),
  txt: (name) => dns.query("TXT", name),
  listed: (zone, ip) => {
    const v = host.dns_dnsbl(string(zone), string(ip), true);
    return typeof v === "number" ? (check(v, `dns: list ${zone}`), "") : v.join(".");
  },
  get ttl() { return num(0x0709); },
  get secure() { return num(0x070a) > 0; },
});
