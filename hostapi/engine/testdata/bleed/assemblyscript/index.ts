// A guest that keeps what it is told in every place that AssemblyScript has for
// it, and rejects if a session before it has left something there.
let number: i64 = 0;
let fraction: f64 = 0.5;
let text: string = "";
let array = new StaticArray<u8>(1 << 14);
let list = new Array<string>();
const table = new Map<string, Uint8Array>();

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
