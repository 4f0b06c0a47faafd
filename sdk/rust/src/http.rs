use crate::abi::{code, method, send};
use crate::kv::millis;
use crate::session::Session;
use crate::text::Text;
use crate::verdict::{check, length, Error, Result};
use crate::{arena, host};
use core::time::Duration;

impl Session {
    /// Makes requests to the places of the grant http. Redirects are not
    /// followed.
    pub fn http(&self) -> Http<'_> {
        Http { session: self }
    }
}

/// The module mta1_http. In one call 4 requests may be made, 2 of them open at
/// a time.
#[derive(Clone, Copy)]
pub struct Http<'s> {
    session: &'s Session,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Method {
    /// Reads.
    Get = method::GET,
    /// Reads the header only.
    Head = method::HEAD,
    /// Sends.
    Post = method::POST,
    /// Puts in place.
    Put = method::PUT,
    /// Deletes.
    Delete = method::DELETE,
    /// Changes a part.
    Patch = method::PATCH,
}

/// What of a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Part {
    /// All of it.
    Message = send::MESSAGE,
    /// The body.
    Body = send::BODY,
    /// The header section.
    Headers = send::HEADERS,
}

impl<'s> Http<'s> {
    /// A request to be made; its methods add to it, and one of
    /// [`send`](Request::send), [`start`](Request::start) and
    /// [`start_message`](Request::start_message) makes it.
    pub fn request(self, method: Method, url: &'s (impl AsRef<[u8]> + ?Sized)) -> Request<'s> {
        Request { session: self.session, method, url: url.as_ref(), header: Ok(Text::EMPTY), body: b"", timeout: Duration::ZERO }
    }

    /// A GET of a place.
    pub fn get(self, url: &'s (impl AsRef<[u8]> + ?Sized)) -> Request<'s> {
        self.request(Method::Get, url)
    }

    /// A POST to a place.
    pub fn post(self, url: &'s (impl AsRef<[u8]> + ?Sized), body: &'s (impl AsRef<[u8]> + ?Sized)) -> Request<'s> {
        self.request(Method::Post, url).body(body)
    }
}

/// A request to be made.
#[must_use = "a request is made by send, start or start_message"]
#[derive(Clone, Copy)]
pub struct Request<'s> {
    session: &'s Session,
    method: Method,
    url: &'s [u8],
    header: Result<Text<'s>>,
    body: &'s [u8],
    timeout: Duration,
}

impl<'s> Request<'s> {
    /// Adds a header field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request<'s> {
        self.header = self.header.and_then(|h| {
            let more = self.session.concat(&[&h, &name, &": ", &value, &"\n"]);
            if more.is_empty() {
                return Err(Error(code::E_LIMIT)); // of our memory
            }
            Ok(more)
        });
        self
    }

    /// Sets the body, of at most 262144 octets.
    pub fn body(mut self, body: &'s (impl AsRef<[u8]> + ?Sized)) -> Request<'s> {
        self.body = body.as_ref();
        self
    }

    /// Sets the time for all of it; default and most are 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Request<'s> {
        self.timeout = timeout;
        self
    }

    fn millis(&self) -> i32 {
        millis(self.timeout).min(i32::MAX as i64) as i32
    }

    /// Sends the request and does not wait for its response.
    pub fn start(self) -> Result<Response<'s>> {
        let header = self.header?;
        Response::new(self.session, host::http_start(self.method as i32, self.url, &header, self.body, self.millis()))
    }

    /// Posts the message, which does not pass through the plugin; method and
    /// body do not count. Needs the grants headers and body, "read", for what
    /// it sends.
    pub fn start_message(self, what: Part) -> Result<Response<'s>> {
        let header = self.header?;
        Response::new(self.session, host::http_start_msg(self.url, &header, what as i32, self.millis()))
    }

    /// Sends the request and waits for its response.
    pub fn send(self) -> Result<Response<'s>> {
        let r = self.start()?;
        r.status()?;
        Ok(r)
    }
}

/// A response, or one that is still to come. Its body is read once. Dropping it
/// ends the request, which makes room for another.
pub struct Response<'s> {
    session: core::marker::PhantomData<&'s Session>,
    handle: i32,
}

impl<'s> Response<'s> {
    fn new(_: &'s Session, handle: i32) -> Result<Response<'s>> {
        check(handle)?;
        Ok(Response { session: core::marker::PhantomData, handle })
    }

    /// Waits for the response and gives its status, 200 to 599.
    pub fn status(&self) -> Result<u16> {
        length(host::http_wait(self.handle, -1)).map(|n| n as u16)
    }

    /// Whether the response, or an error, is there after so long.
    pub fn ready(&self, wait: Duration) -> bool {
        host::http_wait(self.handle, millis(wait).min(i32::MAX as i64) as i32) != code::E_TIMEOUT
    }

    /// The value of a header field, several joined by commas.
    pub fn header(&self, name: &str) -> Option<Text<'s>> {
        arena::read(|b| host::http_header(self.handle, name.as_bytes(), b)).ok().map(|b| Text(b))
    }

    /// Reads on in the body, of which there may be 1 MiB; 0 at its end.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        length(host::http_read(self.handle, buf))
    }

    /// The rest of the body.
    pub fn text(&mut self) -> Result<Text<'s>> {
        arena::read_all(|b| host::http_read(self.handle, b)).map(|b| Text(b))
    }
}

impl Drop for Response<'_> {
    fn drop(&mut self) {
        host::http_close(self.handle);
    }
}

#[cfg(feature = "std")]
impl std::io::Read for Response<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        Response::read(self, buf).map_err(|e| std::io::Error::new(std::io::ErrorKind::Other, e))
    }
}
