use crate::abi::{code, element, field, list};
use crate::session::Session;
use crate::text::Text;
use crate::verdict::{check, Error, Result};
use crate::{arena, host};
use core::marker::PhantomData;

impl Session {
    /// The message's header section. Hooks headers, message, route, attempt,
    /// result; needs the grant headers = "read", for changes "write". Changes
    /// are possible at headers, message and attempt.
    pub fn header(&self) -> Header<'_> {
        Header { session: PhantomData }
    }
}

/// Reads and changes header fields. Names are compared without regard to case;
/// values are unfolded when read and folded when written.
#[derive(Clone, Copy)]
pub struct Header<'s> {
    session: PhantomData<&'s Session>,
}

fn item<'s>(i: i32, f: i32) -> Text<'s> {
    arena::read(|b| host::list_get(list::HEADER, i, f, b)).map_or(Text::EMPTY, |b| Text(b))
}

fn find(from: i32, name: &str) -> i32 {
    host::list_find(list::HEADER, from, name.as_bytes())
}

fn delete(mut i: i32, name: &str) -> Result {
    loop {
        i = find(i, name);
        if i == code::E_NOT_FOUND {
            return Ok(());
        }
        check(i)?;
        check(host::list_remove(list::HEADER, i))?;
    }
}

impl<'s> Header<'s> {
    /// The number of fields.
    pub fn count(self) -> i32 {
        host::list_len(list::HEADER).max(0)
    }

    /// The value of the first field called `name`.
    pub fn get(self, name: &str) -> Option<Text<'s>> {
        let i = find(0, name);
        if i < 0 {
            None
        } else {
            Some(item(i, element::HEADER_VALUE))
        }
    }

    /// Whether there is a field called `name`.
    pub fn has(self, name: &str) -> bool {
        find(0, name) >= 0
    }

    /// The values of the fields called `name`, from the top.
    pub fn values<'n>(self, name: &'n str) -> Values<'s, 'n> {
        Values { next: 0, name, session: PhantomData }
    }

    /// The name and value of field `i`, from 0.
    pub fn at(self, i: i32) -> (Text<'s>, Text<'s>) {
        (item(i, element::HEADER_NAME), item(i, element::HEADER_VALUE))
    }

    /// The header section as it stands, with folds and the empty line.
    pub fn raw(self) -> Result<Text<'s>> {
        crate::session::text(field::RAW_HEADERS)
    }

    /// Appends a field. `E_CONFLICT`: the field may occur once, and is there.
    pub fn add(self, name: &str, value: impl AsRef<[u8]>) -> Result {
        self.insert(-1, name, value)
    }

    /// Puts a field on top, where trace fields belong.
    pub fn prepend(self, name: &str, value: impl AsRef<[u8]>) -> Result {
        self.insert(0, name, value)
    }

    fn insert(self, i: i32, name: &str, value: impl AsRef<[u8]>) -> Result {
        let s = Session::new();
        let text = s.concat(&[&name, &": ", &value.as_ref()]);
        if text.is_empty() {
            return Err(Error(code::E_LIMIT)); // of our memory
        }
        check(host::list_insert(list::HEADER, i, &text))
    }

    /// Gives `name` this one value: it changes the first field, removes further
    /// ones, and appends a field if there is none.
    pub fn set(self, name: &str, value: impl AsRef<[u8]>) -> Result {
        let i = find(0, name);
        if i < 0 {
            return self.add(name, value);
        }
        check(host::list_set(list::HEADER, i, element::HEADER_VALUE, value.as_ref()))?;
        delete(i + 1, name)
    }

    /// Removes all fields called `name`.
    pub fn remove(self, name: &str) -> Result {
        delete(0, name)
    }
}

/// The values of header fields of one name.
pub struct Values<'s, 'n> {
    next: i32,
    name: &'n str,
    session: PhantomData<&'s Session>,
}

impl<'s> Iterator for Values<'s, '_> {
    type Item = Text<'s>;
    fn next(&mut self) -> Option<Text<'s>> {
        let i = find(self.next, self.name);
        if i < 0 {
            return None;
        }
        self.next = i + 1;
        Some(item(i, element::HEADER_VALUE))
    }
}
