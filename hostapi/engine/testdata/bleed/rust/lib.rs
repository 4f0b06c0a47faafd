// A guest that keeps what it is told in every place that Rust has for it, and
// rejects if a session before it has left something there.
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

static NUMBER: AtomicU64 = AtomicU64::new(0);
static LIST: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ARRAY: Mutex<[u8; 1 << 14]> = Mutex::new([0; 1 << 14]);

thread_local! {
    static CELL: Cell<u32> = Cell::new(0);
    static TABLE: RefCell<HashMap<String, Vec<u8>>> = RefCell::new(HashMap::new());
}

#[link(wasm_import_module = "mta1")]
extern "C" {
    fn get(field: i32, buf: *mut u8, cap: usize) -> i32;
    fn list_get(list: i32, index: i32, field: i32, buf: *mut u8, cap: usize) -> i32;
}

// What a hook costs: the reverse-path and the first recipient are asked for.
#[no_mangle]
pub extern "C" fn mta1_on_data() -> i32 {
    let mut text = [0u8; 256];
    unsafe {
        if get(0x0402, text.as_mut_ptr(), text.len()) < 0 || list_get(1, 0, 1, text.as_mut_ptr(), text.len()) < 0 {
            return 2;
        }
    }
    0 // continue
}

#[no_mangle]
pub extern "C" fn mta1_init() -> i32 {
    0
}

#[no_mangle]
pub extern "C" fn mta1_on_rcpt() -> i32 {
    let mut list = LIST.lock().unwrap();
    let mut array = ARRAY.lock().unwrap();
    let found = NUMBER.load(Ordering::Relaxed) != 0
        || !list.is_empty()
        || array.iter().any(|b| *b != 0)
        || CELL.with(|c| c.get()) != 0
        || TABLE.with(|t| !t.borrow().is_empty());
    if found {
        return 2; // reject
    }
    NUMBER.fetch_add(1, Ordering::Relaxed);
    for (k, b) in array.iter_mut().enumerate() {
        *b = k as u8 | 1;
    }
    CELL.with(|c| c.set(7));
    for k in 0..200 {
        list.push(format!("secret {} {}", k, "x".repeat(500)));
        TABLE.with(|t| t.borrow_mut().insert(format!("secret {}", k), vec![1; 100]));
    }
    1 // accept
}
