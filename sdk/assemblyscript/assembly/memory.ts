// What the operator's server keeps for a plugin: its memory, tables, secrets,
// events and metrics. A plugin imports only what it calls.

import {
  Code, KvFlag, Metric,
  event_emit, host_metric_add, host_metric_def, host_secret, kv_cas, kv_del, kv_get, kv_incr, kv_set, kv_take, table_lookup,
} from "./abi";
import { config } from "./index";
import { again, at, begin, cap, encode, finish, finishOctets, message, note } from "./text";

/**
 * The plugin's memory, which outlives sessions, restarts and new versions of the
 * plugin; needs the grant kv. 64 operations in one call, keys of 1 to 512 octets,
 * values of at most 65536. Times to live are in milliseconds, 0 is for ever. Each
 * operation is atomic, among all sessions.
 */
export namespace kv {
  /** A value; null: it is not there. A counter is its number in decimal digits. */
  export function get(key: string): string | null {
    return finish(read(key));
  }
  /** A value as octets. */
  export function getOctets(key: string): Uint8Array | null {
    return finishOctets(read(key));
  }
  function read(key: string): i32 {
    const k = encode(key);
    const p = changetype<usize>(k);
    begin();
    let n = kv_get(p, k.byteLength, at(), cap());
    if (again(n)) n = kv_get(p, k.byteLength, at(), cap());
    return n;
  }
  /** Sets a value for ttl milliseconds. */
  export function set(key: string, value: string, ttl: i64 = 0): i32 { return put(key, encode(value), ttl, 0); }
  /** As set, with octets. */
  export function setOctets(key: string, value: Uint8Array, ttl: i64 = 0): i32 {
    const k = encode(key);
    return note(kv_set(changetype<usize>(k), k.byteLength, value.dataStart, value.length, ttl, 0));
  }
  /** As set, and returns when the value is on disk. */
  export function setSync(key: string, value: string, ttl: i64 = 0): i32 { return put(key, encode(value), ttl, KvFlag.SYNC); }
  /** Sets a value if there is none, and tells whether it did. */
  export function add(key: string, value: string, ttl: i64 = 0): bool { return put(key, encode(value), ttl, KvFlag.IF_ABSENT) == 0; }
  /** Sets a value if there is one, and tells whether it did. */
  export function replace(key: string, value: string, ttl: i64 = 0): bool { return put(key, encode(value), ttl, KvFlag.IF_PRESENT) == 0; }
  function put(key: string, v: ArrayBuffer, ttl: i64, flags: i32): i32 {
    const k = encode(key);
    return note(kv_set(changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength, ttl, flags));
  }
  /** Sets a value if it is old, or, with an empty old, if there is none, and tells whether it did. */
  export function compareAndSwap(key: string, old: string, value: string, ttl: i64 = 0): bool {
    const k = encode(key);
    const o = encode(old);
    const v = encode(value);
    return note(kv_cas(changetype<usize>(k), k.byteLength, changetype<usize>(o), o.byteLength, changetype<usize>(v), v.byteLength, ttl)) == 0;
  }
  /** Deletes a value, and tells whether there was one. */
  export function remove(key: string): bool {
    const k = encode(key);
    return note(kv_del(changetype<usize>(k), k.byteLength)) == 0;
  }
  /**
   * Adds delta to a counter, which does not go below 0, and returns its new
   * value; below 0: an error. A counter that is new lives for ttl milliseconds;
   * one that is there keeps its time, unless refresh says otherwise.
   */
  export function increment(key: string, delta: i64 = 1, ttl: i64 = 0, refresh: bool = false): i64 {
    const k = encode(key);
    return kv_incr(changetype<usize>(k), k.byteLength, delta, ttl, refresh ? KvFlag.REFRESH : 0);
  }
  /**
   * Takes cost tokens from a bucket that holds burst of them, begins full, and
   * gains perSecond in a second, down to a thousandth. 0: they were taken; above:
   * none was, and these are the milliseconds until there are enough; below: an
   * error.
   */
  export function take(key: string, cost: i32, burst: i32, perSecond: f64): i64 {
    const k = encode(key);
    return kv_take(changetype<usize>(k), k.byteLength, cost, burst, <i64>(perSecond * 1000 + 0.5));
  }
}

/** The value of a key in one of the operator's tables; null: it is not there. Needs the grant tables. */
export function lookup(table: string, key: string): string | null {
  const t = encode(table);
  const k = encode(key);
  begin();
  let n = table_lookup(changetype<usize>(t), t.byteLength, changetype<usize>(k), k.byteLength, at(), cap());
  if (again(n)) n = table_lookup(changetype<usize>(t), t.byteLength, changetype<usize>(k), k.byteLength, at(), cap());
  return finish(n);
}

/** Hands an event to the operator's sinks for its topic: 16 in one call, of at most 65536 octets. Needs the grant events. */
export function emit(topic: string, data: string): i32 {
  const t = encode(topic);
  const d = encode(data);
  return event_emit(changetype<usize>(t), t.byteLength, changetype<usize>(d), d.byteLength);
}

/** One of the operator's secrets; null: why, lastError says. Needs the grant secrets; also in mta1_init. */
export function secret(name: string): string | null {
  const k = encode(name);
  begin();
  let n = host_secret(changetype<usize>(k), k.byteLength, at(), cap());
  if (again(n)) n = host_secret(changetype<usize>(k), k.byteLength, at(), cap());
  return finish(n);
}

/** A series of metrics, which goes on in new versions of the plugin. */
class Series {
  private id: i32 = Code.E_NOT_FOUND;
  /** A name has 1 to 64 lower-case letters, digits and '_'; a plugin has at most 64 series. */
  constructor(private readonly kind: i32, private readonly name: string) {}

  /** Makes the series. Call it in mta1_init; an error refuses the plugin, if config.status() is returned. */
  define(): void {
    const k = encode(this.name);
    this.id = host_metric_def(this.kind, changetype<usize>(k), k.byteLength);
    if (this.id < 0) config.fail("metric " + this.name + ": " + message(this.id));
  }

  protected sample(n: i64): void {
    host_metric_add(this.id, n); // what is wrong with a sample is no reason to fail a message
  }
}

/** Counts what happened: const seen = new Counter("seen"), and seen.define() in mta1_init. */
export class Counter extends Series {
  constructor(name: string) { super(Metric.COUNTER, name); }
  /** Adds n, which is not below 0. */
  add(n: i64 = 1): void { this.sample(n); }
}

/** Is what something is now. */
export class Gauge extends Series {
  constructor(name: string) { super(Metric.GAUGE, name); }
  /** Sets it. */
  set(n: i64): void { this.sample(n); }
}

/** Is how large things are. Its buckets are the powers of two. */
export class Histogram extends Series {
  constructor(name: string) { super(Metric.HISTOGRAM, name); }
  /** Counts one of the size n, which is not below 0. */
  observe(n: i64): void { this.sample(n); }
}
