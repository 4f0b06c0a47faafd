// A guest that keeps what it is told in every place that AssemblyScript has for
// it, and rejects if a session before it has left something there.
let number: i64 = 0;
let fraction: f64 = 0.5;
let text: string = "";
let array = new StaticArray<u8>(1 << 14);
let list = new Array<string>();
const table = new Map<string, Uint8Array>();

@external("mta1", "get")
declare function get(field: i32, buf: usize, cap: i32): i32;
@external("mta1", "list_get")
declare function listGet(list: i32, index: i32, field: i32, buf: usize, cap: i32): i32;

const buffer = memory.data(256);

// What a hook costs: the reverse-path and the first recipient are asked for.
export function mta1_on_data(): i32 {
  if (get(0x0402, buffer, 256) < 0) return 2;
  if (listGet(1, 0, 1, buffer, 256) < 0) return 2;
  return 0; // continue
}

export function mta1_init(): i32 {
  return 0;
}

export function mta1_on_rcpt(): i32 {
  let found = number != 0 || fraction != 0.5 || text.length != 0 || list.length != 0 || table.size != 0;
  for (let k = 0; k < array.length; k++) found = found || array[k] != 0;
  if (found) return 2; // reject
  number++;
  fraction += 1;
  text = "secret ".repeat(100);
  for (let k = 0; k < array.length; k++) array[k] = u8(k | 1);
  for (let k = 0; k < 100; k++) {
    list.push("secret " + k.toString());
    table.set(list[k], new Uint8Array(500));
  }
  return 1; // accept
}
