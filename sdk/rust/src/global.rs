/// A value that [`init!`](crate::init) sets and hooks read, in a `static`. It
/// lives as long as the instance, which is one session or one delivery; under
/// test each thread has its own.
pub struct Global<T>(Inner<T>);

#[cfg(target_arch = "wasm32")]
use core::cell::Cell as Inner;

// A guest has one thread.
#[cfg(target_arch = "wasm32")]
unsafe impl<T: Copy + Send> Sync for Global<T> {}

#[cfg(not(target_arch = "wasm32"))]
struct Inner<T> {
    first: T,
    values: std::sync::Mutex<std::vec::Vec<(std::thread::ThreadId, T)>>,
}

#[cfg(not(target_arch = "wasm32"))]
impl<T: Copy> Inner<T> {
    const fn new(first: T) -> Self {
        Inner { first, values: std::sync::Mutex::new(std::vec::Vec::new()) }
    }

    fn get(&self) -> T {
        let id = std::thread::current().id();
        let values = self.values.lock().unwrap_or_else(|e| e.into_inner());
        values.iter().find(|v| v.0 == id).map_or(self.first, |v| v.1)
    }

    fn set(&self, v: T) {
        let id = std::thread::current().id();
        let mut values = self.values.lock().unwrap_or_else(|e| e.into_inner());
        values.retain(|v| v.0 != id);
        values.push((id, v));
    }
}

impl<T: Copy + Send> Global<T> {
    /// A global with its first value.
    pub const fn new(v: T) -> Self {
        Global(Inner::new(v))
    }

    /// The value.
    pub fn get(&self) -> T {
        self.0.get()
    }

    /// Changes the value.
    pub fn set(&self, v: T) {
        self.0.set(v);
    }
}
