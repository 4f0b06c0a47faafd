//! Where texts of the host live: octets are taken and never given back, until
//! the next hook begins.
use crate::verdict::{length, Error, Result};

/// read calls get with a buffer, and once more if it was too small. The slice is
/// valid until [`reset`]; who calls bounds its lifetime.
pub(crate) fn read(get: impl Fn(&mut [u8]) -> i32) -> Result<&'static mut [u8]> {
    let mut n = length(get(rest()))?;
    if n > rest().len() {
        room(n)?;
        n = length(get(rest()))?;
        if n > rest().len() {
            return Err(Error(crate::abi::code::E_CONFLICT));
        }
    }
    Ok(take(n))
}

/// read_all calls get until it gives nothing more.
pub(crate) fn read_all(mut get: impl FnMut(&mut [u8]) -> i32) -> Result<&'static mut [u8]> {
    let mut n = 0;
    loop {
        if n == rest().len() {
            let old: &'static [u8] = rest();
            room(2 * n + 64)?;
            rest()[..n].copy_from_slice(old);
        }
        match length(get(&mut rest()[n..]))? {
            0 => return Ok(take(n)),
            more => n = (n + more).min(rest().len()),
        }
    }
}

/// alloc takes n octets.
pub(crate) fn alloc(n: usize) -> Result<&'static mut [u8]> {
    if n > rest().len() {
        room(n)?;
    }
    Ok(take(n))
}

/// list takes room for n values.
pub(crate) fn list<T: Copy>(n: usize, zero: T) -> Result<&'static mut [T]> {
    let align = core::mem::align_of::<T>();
    let size = n.checked_mul(core::mem::size_of::<T>()).and_then(|s| s.checked_add(align));
    let octets = alloc(size.ok_or(Error(crate::abi::code::E_LIMIT))?)?;
    let pad = octets.as_ptr().align_offset(align);
    let at = octets[pad..].as_mut_ptr() as *mut T;
    // The octets are ours alone, aligned, and enough for n values, all of which are written before they are read.
    unsafe {
        for i in 0..n {
            at.add(i).write(zero);
        }
        Ok(core::slice::from_raw_parts_mut(at, n))
    }
}

#[cfg(target_arch = "wasm32")]
mod memory {
    use super::*;
    use core::cell::UnsafeCell;

    const FIRST: usize = 8192;

    struct Arena {
        first: UnsafeCell<[u8; FIRST]>,
        at: UnsafeCell<Region>,
    }

    #[derive(Clone, Copy)]
    struct Region {
        base: *mut u8, // null: first
        cap: usize,
        used: usize,
        keep: usize, // what init! read
    }

    // A guest has one thread, and no function here calls another that looks at the same cell meanwhile.
    unsafe impl Sync for Arena {}

    static ARENA: Arena = Arena {
        first: UnsafeCell::new([0; FIRST]),
        at: UnsafeCell::new(Region { base: core::ptr::null_mut(), cap: FIRST, used: 0, keep: 0 }),
    };

    fn region() -> Region {
        unsafe { *ARENA.at.get() }
    }

    fn put(r: Region) {
        unsafe { *ARENA.at.get() = r }
    }

    fn base(r: &Region) -> *mut u8 {
        if r.base.is_null() {
            ARENA.first.get() as *mut u8
        } else {
            r.base
        }
    }

    /// rest is what is free; it is used only until the next take.
    pub(crate) fn rest() -> &'static mut [u8] {
        let r = region();
        unsafe { core::slice::from_raw_parts_mut(base(&r).add(r.used), r.cap - r.used) }
    }

    pub(crate) fn take(n: usize) -> &'static mut [u8] {
        let mut r = region();
        let p = unsafe { core::slice::from_raw_parts_mut(base(&r).add(r.used), n) };
        r.used += n;
        put(r);
        p
    }

    /// room makes the memory grow; what was taken before stays where it is.
    pub(crate) fn room(n: usize) -> Result {
        let pages = n.max(2 * region().cap).saturating_add(65535) >> 16;
        let at = core::arch::wasm32::memory_grow(0, pages);
        if at == usize::MAX {
            return Err(Error(crate::abi::code::E_LIMIT));
        }
        put(Region { base: (at << 16) as *mut u8, cap: pages << 16, used: 0, keep: 0 });
        Ok(())
    }

    pub(crate) fn reset() {
        let mut r = region();
        r.used = r.keep;
        put(r);
    }

    pub(crate) fn keep() {
        let mut r = region();
        r.keep = r.used;
        put(r);
    }
}

/// Under test texts are leaked instead.
#[cfg(not(target_arch = "wasm32"))]
mod memory {
    use super::*;
    use std::cell::RefCell;
    use std::vec;

    std::thread_local! {
        static REST: RefCell<&'static mut [u8]> = RefCell::new(&mut []);
    }

    pub(crate) fn rest() -> &'static mut [u8] {
        REST.with(|r| {
            let r = &mut *r.borrow_mut();
            if r.len() < 64 {
                *r = vec![0; 256].leak();
            }
            // It is used only until the next take, as in the guest.
            unsafe { core::slice::from_raw_parts_mut(r.as_mut_ptr(), r.len()) }
        })
    }

    pub(crate) fn take(n: usize) -> &'static mut [u8] {
        REST.with(|r| {
            let all = core::mem::take(&mut *r.borrow_mut());
            let (taken, rest) = all.split_at_mut(n);
            *r.borrow_mut() = rest;
            taken
        })
    }

    pub(crate) fn room(n: usize) -> Result {
        REST.with(|r| *r.borrow_mut() = vec![0; n.max(256)].leak());
        Ok(())
    }

    pub(crate) fn reset() {}
    pub(crate) fn keep() {}
}

pub(crate) use memory::{keep, reset};
use memory::{rest, room, take};
