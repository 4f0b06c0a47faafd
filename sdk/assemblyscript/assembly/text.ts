// Texts between the server and a plugin: octets there, UTF-16 here.

import { Code } from "./abi";

// scratch receives what the server gives; only what is longer costs a second
// call. A plugin is asked one thing at a time.
const CAP: i32 = 4096;
const scratch: usize = memory.data(4096);

/** Where a read puts its octets: again, if the first place was too small. */
let place: usize = scratch;
let room: i32 = CAP;
let large: StaticArray<u8> | null = null;

/** Begins a read. Call at() and cap() for the place, and call the server until again() says no. */
export function begin(): void {
  place = scratch;
  room = CAP;
}

export function at(): usize {
  return place;
}

export function cap(): i32 {
  return room;
}

/** Tells whether n octets did not fit; then there is room for them now. */
export function again(n: i32): bool {
  if (n <= room) return false;
  const more = new StaticArray<u8>(n);
  large = more;
  place = changetype<usize>(more);
  room = n;
  return true;
}

let failure: i32 = 0;

/** Notes a result for lastError, and returns it. */
export function note(code: i32): i32 {
  failure = min(code, 0);
  return code;
}

/** The error code of the last function that answered null, false or "" although it may answer something; 0: it was no error. */
export function lastError(): i32 {
  return failure;
}

/** Ends a read of n octets; null if n is an error, or more than there is room for still. */
export function finish(n: i32): string | null {
  const s: string | null = note(n > room ? Code.E_CONFLICT : n) < 0 ? null : decode(place, n);
  large = null;
  return s;
}

/** Is finish for octets. */
export function finishOctets(n: i32): Uint8Array | null {
  let b: Uint8Array | null = null;
  if (note(n > room ? Code.E_CONFLICT : n) >= 0) {
    b = new Uint8Array(n);
    memory.copy(b.dataStart, place, n);
  }
  large = null;
  return b;
}

/**
 * decode reads UTF-8. What is not UTF-8 becomes U+FFFD, one for each octet, and
 * takes nothing of what follows with it: mail is hostile, and a policy must see
 * the words that stand behind a stray octet.
 */
export function decode(from: usize, len: i32): string {
  const end = from + len;
  const out = new StaticArray<u16>(len); // an octet makes one unit at most
  let n = 0;
  while (from < end) {
    const c = <u32>load<u8>(from++);
    if (c < 0x80) {
      unchecked((out[n++] = <u16>c));
      continue;
    }
    const more = c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 0;
    let r: u32 = 0xfffd;
    if (more > 0 && from + more <= end) {
      let v = c & (0x3f >> more);
      let i = 0;
      for (; i < more; i++) {
        const d = <u32>load<u8>(from + i);
        if ((d & 0xc0) != 0x80) break;
        v = (v << 6) | (d & 0x3f);
      }
      const least: u32 = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
      if (i == more && v >= least && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff)) {
        r = v;
        from += more;
      }
    }
    if (r < 0x10000) {
      unchecked((out[n++] = <u16>r));
    } else {
      r -= 0x10000;
      unchecked((out[n++] = <u16>(0xd800 | (r >> 10))));
      unchecked((out[n++] = <u16>(0xdc00 | (r & 0x3ff))));
    }
  }
  return String.UTF16.decodeUnsafe(changetype<usize>(out), <usize>n << 1);
}

/** encode writes UTF-8; half a surrogate pair becomes U+FFFD. */
export function encode(s: string): ArrayBuffer {
  return String.UTF8.encode(s, false, String.UTF8.ErrorMode.REPLACE);
}

/** enhanced packs "5.7.1" as the contract has it; anything else is 0, the server's choice. */
export function enhanced(s: string): i32 {
  let part = 0;
  let digits = 0;
  let value = 0;
  let packed = 0;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c >= 0x30 && c <= 0x39 && digits < 3) {
      value = value * 10 + (c - 0x30);
      digits++;
    } else if (c == 0x2e && digits > 0 && part < 2) {
      packed = (packed << 10) | value;
      value = 0;
      digits = 0;
      part++;
    } else {
      return 0;
    }
  }
  return part == 2 && digits > 0 ? (packed << 10) | value : 0;
}

/** strings reads a JSON array of strings; null if it is something else. */
export function strings(json: string): string[] | null {
  const list: string[] = [];
  const p = new Json(json);
  if (!p.next(0x5b)) return null; // [
  if (!p.next(0x5d)) {
    do {
      const s = p.quoted();
      if (s === null) return null;
      list.push(s);
    } while (p.next(0x2c)); // ,
    if (!p.next(0x5d)) return null;
  }
  return p.end() ? list : null;
}

class Json {
  i: i32 = 0;
  constructor(public s: string) {}

  blanks(): void {
    while (this.i < this.s.length) {
      const c = this.s.charCodeAt(this.i);
      if (c != 0x20 && c != 0x09 && c != 0x0a && c != 0x0d) return;
      this.i++;
    }
  }

  next(c: i32): bool {
    this.blanks();
    if (this.i >= this.s.length || this.s.charCodeAt(this.i) != c) return false;
    this.i++;
    return true;
  }

  end(): bool {
    this.blanks();
    return this.i == this.s.length;
  }

  quoted(): string | null {
    if (!this.next(0x22)) return null;
    let out = "";
    let from = this.i;
    while (this.i < this.s.length) {
      const c = this.s.charCodeAt(this.i++);
      if (c == 0x22) return out + this.s.substring(from, this.i - 1);
      if (c < 0x20) return null;
      if (c != 0x5c) continue;
      out += this.s.substring(from, this.i - 1);
      if (this.i == this.s.length) return null;
      switch (this.s.charCodeAt(this.i++)) {
        case 0x22: out += '"'; break;
        case 0x5c: out += "\\"; break;
        case 0x2f: out += "/"; break;
        case 0x62: out += "\b"; break;
        case 0x66: out += "\f"; break;
        case 0x6e: out += "\n"; break;
        case 0x72: out += "\r"; break;
        case 0x74: out += "\t"; break;
        case 0x75: {
          const unit = this.hex();
          if (unit < 0) return null;
          out += String.fromCharCode(unit); // the second half of a pair follows by itself
          break;
        }
        default: return null;
      }
      from = this.i;
    }
    return null;
  }

  hex(): i32 {
    if (this.i + 4 > this.s.length) return -1;
    let v = 0;
    for (let n = 0; n < 4; n++) {
      const c = this.s.charCodeAt(this.i++);
      const d = c >= 0x30 && c <= 0x39 ? c - 0x30 : (c | 0x20) >= 0x61 && (c | 0x20) <= 0x66 ? (c | 0x20) - 0x57 : -1;
      if (d < 0) return -1;
      v = (v << 4) | d;
    }
    return v;
  }
}

/** integer reads a whole number; ok() tells whether the last one was one. */
export function integer(s: string): i64 {
  let i = s.length > 0 && s.charCodeAt(0) == 0x2d ? 1 : 0;
  const negative = i == 1;
  let v: i64 = 0;
  integral = s.length > i && s.length - i <= 18;
  for (; integral && i < s.length; i++) {
    const d = s.charCodeAt(i) - 0x30;
    if (d < 0 || d > 9) integral = false;
    v = v * 10 + d;
  }
  return negative ? -v : v;
}

let integral: bool = false;

export function ok(): bool {
  return integral;
}

/** message says what an error code means. */
export function message(code: i32): string {
  switch (code) {
    case Code.E_INVAL: return "invalid argument";
    case Code.E_NOT_FOUND: return "not found";
    case Code.E_DENIED: return "not granted";
    case Code.E_STATE: return "not possible in this hook";
    case Code.E_LIMIT: return "limit reached";
    case Code.E_TIMEOUT: return "timed out";
    case Code.E_UNSUPPORTED: return "not supported by this host";
    case Code.E_UNAVAIL: return "temporarily unavailable";
    case Code.E_CONFLICT: return "conflict";
    case Code.E_TOO_LARGE: return "too large";
    case Code.E_BAD_SIG: return "the signature is not good";
    case Code.E_NXDOMAIN: return "no such domain";
    case Code.E_SERVFAIL: return "name server failure";
    case Code.E_BOGUS: return "DNSSEC validation failed";
  }
  return "other error";
}
