use crate::abi::{element, field, list};
use crate::session::Session;
use crate::text::Text;
use crate::verdict::{check, Result};
use crate::{arena, host};
use core::marker::PhantomData;

impl Session {
    /// The recipient that is asked about. Hook rcpt.
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient { index: host::get_num(field::CUR_RCPT) as i32, session: PhantomData }
    }

    /// The number of recipients.
    pub fn recipient_count(&self) -> i32 {
        host::list_len(list::RCPT).max(0)
    }

    /// The recipients in their order. Do not remove any meanwhile; see
    /// [`remove_recipients`](Session::remove_recipients).
    pub fn recipients(&self) -> Recipients<'_> {
        Recipients { next: 0, session: PhantomData }
    }

    /// Adds a recipient behind the others. Hooks rcpt to message.
    pub fn add_recipient(&self, path: impl AsRef<[u8]>) -> Result {
        check(host::list_insert(list::RCPT, -1, path.as_ref()))
    }

    /// Removes those that `unwanted` says. Hook message, and at rcpt any but the
    /// current one. It ends at the first error.
    pub fn remove_recipients(&self, mut unwanted: impl FnMut(Recipient<'_>) -> bool) -> Result {
        for index in (0..self.recipient_count()).rev() {
            let r = Recipient { index, session: PhantomData };
            if unwanted(r) {
                r.remove()?;
            }
        }
        Ok(())
    }
}

/// The recipients of a message.
pub struct Recipients<'s> {
    next: i32,
    session: PhantomData<&'s Session>,
}

impl<'s> Iterator for Recipients<'s> {
    type Item = Recipient<'s>;
    fn next(&mut self) -> Option<Recipient<'s>> {
        if self.next >= host::list_len(list::RCPT) {
            return None;
        }
        self.next += 1;
        Some(Recipient { index: self.next - 1, session: PhantomData })
    }
}

/// One recipient of the message, by its place in the list. Adding and removing
/// others may change the place.
#[derive(Clone, Copy)]
pub struct Recipient<'s> {
    index: i32,
    session: PhantomData<&'s Session>,
}

impl<'s> Recipient<'s> {
    fn text(self, f: i32) -> Text<'s> {
        arena::read(|b| host::list_get(list::RCPT, self.index, f, b)).map_or(Text::EMPTY, |b| Text(b))
    }

    fn number(self, f: i32) -> i64 {
        host::list_num(list::RCPT, self.index, f).max(0)
    }

    /// The address without brackets.
    pub fn forward_path(self) -> Text<'s> {
        self.text(element::RCPT_ADDR)
    }

    /// The local part, unquoted.
    pub fn local(self) -> Text<'s> {
        self.text(element::RCPT_LOCAL)
    }

    /// The domain in lower case and A-labels.
    pub fn domain(self) -> Text<'s> {
        self.text(element::RCPT_DOMAIN)
    }

    /// The forward-path before it was rewritten; empty: it was not.
    pub fn original(self) -> Text<'s> {
        self.text(element::RCPT_ORIGINAL)
    }

    /// The ORCPT parameter of RCPT.
    pub fn orcpt(self) -> Text<'s> {
        self.text(element::RCPT_ORCPT)
    }

    /// The NOTIFY parameter of RCPT: a sum of 1 NEVER, 2 SUCCESS, 4 FAILURE, 8
    /// DELAY; 0: not given.
    pub fn notify(self) -> i64 {
        self.number(element::RCPT_NOTIFY)
    }

    /// 0 deferred, 1 delivered, 2 failed; treat others as failed. Hook result.
    pub fn status(self) -> i64 {
        self.number(element::RCPT_STATUS)
    }

    /// Replaces the address. Hooks rcpt (the current one) to message.
    pub fn set_forward_path(self, path: impl AsRef<[u8]>) -> Result {
        check(host::list_set(list::RCPT, self.index, element::RCPT_ADDR, path.as_ref()))
    }

    /// Takes the recipient out; see [`Session::remove_recipients`].
    pub fn remove(self) -> Result {
        check(host::list_remove(list::RCPT, self.index))
    }
}
