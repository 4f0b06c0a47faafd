// The DNS and HTTP, as far as the operator grants them.

import {
  Code, Field, Method,
  dns_dnsbl, dns_prefetch, dns_query, host_get_num, http_close, http_header, http_read, http_start, http_start_msg, http_wait,
} from "./abi";
import { again, at, begin, cap, decode, encode, finish, finishOctets, note } from "./text";

/** Types of DNS records, by their numbers in the RFCs. */
export namespace RecordType {
  /** 4 octets. */
  export const A: i32 = 1;
  export const NS: i32 = 2;
  export const CNAME: i32 = 5;
  export const PTR: i32 = 12;
  /** "10 host"; "0 ." is a null MX. */
  export const MX: i32 = 15;
  /** The strings joined. */
  export const TXT: i32 = 16;
  /** 16 octets. */
  export const AAAA: i32 = 28;
  /** "priority weight port host". */
  export const SRV: i32 = 33;
  /** The octets of the record (RFC 6698 2.1). */
  export const TLSA: i32 = 52;
  /** "flags tag value". */
  export const CAA: i32 = 257;
}

/** A mail exchanger. A null MX has the host ".". */
export class Exchange {
  constructor(public readonly preference: i32, public readonly host: string) {}
}

/**
 * The server's resolver, which caches; needs the grant dns. In one call 30
 * different questions may be asked. A list is empty if the name has no such
 * records, and null if there was no answer: lastError says why, Code.E_NXDOMAIN
 * if the name does not exist.
 */
export namespace dns {
  /** Starts a question that will be asked later, at most 8 at a time. */
  export function prefetch(type: i32, name: string): i32 {
    const k = encode(name);
    return dns_prefetch(type, changetype<usize>(k), k.byteLength);
  }
  /** The records in the form of the contract, which RecordType tells. */
  export function query(type: i32, name: string): Uint8Array[] | null {
    const k = encode(name);
    begin();
    let n = dns_query(type, changetype<usize>(k), k.byteLength, at(), cap());
    if (again(n)) n = dns_query(type, changetype<usize>(k), k.byteLength, at(), cap());
    const all = finishOctets(n);
    if (all === null) return null;
    const list: Uint8Array[] = [];
    for (let i = 0; i + 4 <= all.length;) {
      const size = <i32>load<u32>(all.dataStart + i);
      i += 4;
      if (size < 0 || size > all.length - i) break;
      list.push(all.slice(i, i + size));
      i += size;
    }
    return list;
  }
  function texts(type: i32, name: string): string[] | null {
    const records = query(type, name);
    if (records === null) return null;
    const list: string[] = [];
    for (let i = 0; i < records.length; i++) list.push(decode(records[i].dataStart, records[i].length));
    return list;
  }
  function addresses(type: i32, host: string): string[] | null {
    const records = query(type, host);
    if (records === null) return null;
    const list: string[] = [];
    for (let i = 0; i < records.length; i++) list.push(address(records[i]));
    return list;
  }
  /** The IPv4 addresses of a host. */
  export function a(host: string): string[] | null { return addresses(RecordType.A, host); }
  /** The IPv6 addresses of a host. */
  export function aaaa(host: string): string[] | null { return addresses(RecordType.AAAA, host); }
  /** The TXT records, the strings of each joined. */
  export function txt(name: string): string[] | null { return texts(RecordType.TXT, name); }
  /** The host names of a name like 1.2.0.192.in-addr.arpa. */
  export function ptr(name: string): string[] | null { return texts(RecordType.PTR, name); }
  /** The mail exchangers of a domain, in no order. */
  export function mx(domain: string): Exchange[] | null {
    const records = texts(RecordType.MX, domain);
    if (records === null) return null;
    const list: Exchange[] = [];
    for (let i = 0; i < records.length; i++) {
      const blank = records[i].indexOf(" ");
      if (blank > 0) list.push(new Exchange(I32.parseInt(records[i].substring(0, blank)), records[i].substring(blank + 1)));
    }
    return list;
  }
  /**
   * Asks a DNS list, such as "zen.example", for an address, and gives the list's
   * answer, such as "127.0.0.2"; null: it does not list it, or does not answer
   * us (lastError is below 0 then).
   */
  export function listed(zone: string, ip: string): string | null {
    const z = encode(zone);
    const i = encode(ip);
    const answer = new Uint8Array(4);
    const n = note(dns_dnsbl(changetype<usize>(z), z.byteLength, changetype<usize>(i), i.byteLength, answer.dataStart));
    return n == 1 ? address(answer) : null;
  }
  /** How long the last answer holds, in seconds. */
  export function ttl(): i32 { return <i32>max<i64>(host_get_num(Field.DNS_TTL), 0); }
  /** Whether DNSSEC proved the last answer. */
  export function secure(): bool { return host_get_num(Field.DNS_AD) == 1; }
}

/** An address of 4 or 16 octets as a text (RFC 5952): "192.0.2.1", "2001:db8::1". */
export function address(octets: Uint8Array): string {
  let s = "";
  if (octets.length == 4) {
    for (let i = 0; i < 4; i++) s += (i > 0 ? "." : "") + octets[i].toString();
    return s;
  }
  if (octets.length != 16) return "";
  let from = -1;
  let zeros = 1; // the first longest run of two and more
  for (let i = 0; i < 8; i++) {
    let k = i;
    while (k < 8 && octets[2 * k] == 0 && octets[2 * k + 1] == 0) k++;
    if (k - i > zeros) {
      from = i;
      zeros = k - i;
    }
  }
  for (let i = 0; i < 8; i++) {
    if (i == from) {
      s += "::";
      i += zeros - 1;
      continue;
    }
    if (s.length > 0 && !s.endsWith(":")) s += ":";
    s += ((<u32>octets[2 * i] << 8) | octets[2 * i + 1]).toString(16);
  }
  return s;
}

/**
 * A request to one of the places of the grant http:
 *
 *     const r = new Request("https://rep.example/v1/").header("X-Key", key).send();
 *     if (r.status() == 200 && r.text() == "bad") ...
 *     r.close();
 *
 * In one call 4 may be made, 2 of them open at a time. Redirects are not followed.
 */
export class Request {
  private lines: string = "";
  private octets: ArrayBuffer = new ArrayBuffer(0);
  private time: i32 = 0;

  /** method is one of Method. */
  constructor(private readonly url: string, private readonly method: i32 = Method.GET) {}

  /** Adds a header field. */
  header(name: string, value: string): Request {
    this.lines += name + ": " + value + "\n";
    return this;
  }
  /** Sets the body, of at most 262144 octets. */
  body(text: string): Request {
    this.octets = encode(text);
    return this;
  }
  /** As body, with octets. */
  bodyOctets(octets: Uint8Array): Request {
    this.octets = octets.buffer.slice(octets.byteOffset, octets.byteOffset + octets.length);
    return this;
  }
  /** Sets the time for all of it, in milliseconds; default and most are 10000. */
  timeout(milliseconds: i32): Request {
    this.time = milliseconds;
    return this;
  }
  /** Sends the request and does not wait for its response. */
  start(): Response {
    const u = encode(this.url);
    const h = encode(this.lines);
    const b = this.octets;
    return new Response(http_start(
      this.method, changetype<usize>(u), u.byteLength, changetype<usize>(h), h.byteLength, changetype<usize>(b), b.byteLength, this.time));
  }
  /** Posts the message, one of Send, which does not pass through the plugin; method and body do not count. Needs the grants headers and body. */
  startMessage(what: i32): Response {
    const u = encode(this.url);
    const h = encode(this.lines);
    return new Response(http_start_msg(changetype<usize>(u), u.byteLength, changetype<usize>(h), h.byteLength, what, this.time));
  }
  /** Sends the request and waits for its response. */
  send(): Response {
    const r = this.start();
    r.status();
    return r;
  }
}

/** A response, or one that is still to come. Its body is read once; close it to make another request. */
export class Response {
  constructor(private handle: i32) {}

  /** Waits for the response and gives its status, 200 to 599; below 0: an error. */
  status(): i32 { return this.handle < 0 ? this.handle : http_wait(this.handle, -1); }
  /** Whether the response, or an error, is there after so many milliseconds. */
  ready(milliseconds: i32 = 0): bool { return http_wait(this.handle, milliseconds) != Code.E_TIMEOUT; }
  /** The value of a header field, several joined by commas; "": there is none. */
  header(name: string): string {
    const k = encode(name);
    begin();
    let n = http_header(this.handle, changetype<usize>(k), k.byteLength, at(), cap());
    if (again(n)) n = http_header(this.handle, changetype<usize>(k), k.byteLength, at(), cap());
    const s = finish(n);
    return s === null ? "" : s;
  }
  /** Reads on in the body, of which there may be 1 MiB; 0 at its end, below 0: an error. */
  read(buf: Uint8Array): i32 { return http_read(this.handle, buf.dataStart, buf.length); }
  /** The rest of the body; null if there was an error, which lastError says. */
  octets(): Uint8Array | null {
    let b = new Uint8Array(4096);
    let n = 0;
    while (true) {
      if (n == b.length) {
        const more = new Uint8Array(2 * n);
        more.set(b);
        b = more;
      }
      const k = note(http_read(this.handle, b.dataStart + n, b.length - n));
      if (k < 0) return null;
      if (k == 0) return b.subarray(0, n);
      n += k;
    }
  }
  /** The rest of the body as a text; "" if there was an error. */
  text(): string {
    const b = this.octets();
    return b === null ? "" : decode(b.dataStart, b.length);
  }
  /** Ends the request. The end of the hook does it too. */
  close(): i32 {
    const h = this.handle;
    this.handle = Code.E_NOT_FOUND;
    return h < 0 ? h : http_close(h);
  }
}
