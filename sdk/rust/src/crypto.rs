use crate::abi::{alg, canon, code};
use crate::session::Session;
use crate::text::Text;
use crate::verdict::{check, unless, Result};
use crate::{arena, host};
use core::marker::PhantomData;

impl Session {
    /// Cryptography in the server: faster than in the plugin, and with keys
    /// that the plugin does not see. Needs no grant except for keys
    /// (sign_keys) and the body.
    pub fn crypto(&self) -> Crypto<'_> {
        Crypto { session: PhantomData }
    }
}

/// An algorithm of mta1_crypto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Algorithm {
    /// A digest of 20 octets.
    Sha1 = alg::SHA1,
    /// A digest of 32 octets.
    Sha256 = alg::SHA256,
    /// A digest of 64 octets.
    Sha512 = alg::SHA512,
    /// PureEdDSA of what is given: for DKIM the SHA-256 (RFC 8463).
    Ed25519 = alg::ED25519,
    /// RSA, PKCS #1 v1.5 of a SHA-256.
    Rsa = alg::RSA,
    /// RSA, PSS of a SHA-256.
    RsaPss = alg::RSAPSS,
    /// ECDSA of a SHA-256; the signature is ASN.1.
    EcdsaP256 = alg::ECDSAP256,
}

/// The form in which a body is hashed (RFC 6376 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Canonicalization {
    /// As it is.
    Raw = canon::RAW,
    /// Without empty lines at the end.
    Simple = canon::SIMPLE,
    /// Also with blanks made one, and none at the ends of lines.
    Relaxed = canon::RELAXED,
}

/// The module mta1_crypto.
#[derive(Clone, Copy)]
pub struct Crypto<'s> {
    session: PhantomData<&'s Session>,
}

impl<'s> Crypto<'s> {
    /// Hashes data.
    pub fn digest(self, a: Algorithm, data: impl AsRef<[u8]>) -> Result<Text<'s>> {
        arena::read(|b| host::digest(a as i32, data.as_ref(), b)).map(|b| Text(b))
    }

    /// Begins a digest. Eight may be at a time.
    pub fn new_digest(self, a: Algorithm) -> Result<Digest<'s>> {
        let handle = host::digest_open(a as i32);
        check(handle)?;
        Ok(Digest { handle, session: PhantomData })
    }

    /// Hashes the canonical body, of it the first `limit` octets: DKIM's bh=.
    /// Needs the grant body = "read".
    pub fn body_digest(self, a: Algorithm, form: Canonicalization, limit: Option<i64>) -> Result<Text<'s>> {
        let mut d = self.new_digest(a)?;
        d.body(0, limit, form)?;
        d.sum()
    }

    /// Whether a signature is good. `key` is a DER SubjectPublicKeyInfo, for
    /// Ed25519 also the 32 octets. `digest` is the SHA-256, with Ed25519 what
    /// was signed.
    pub fn verify(self, a: Algorithm, key: impl AsRef<[u8]>, signature: impl AsRef<[u8]>, digest: impl AsRef<[u8]>) -> Result<bool> {
        unless(code::E_BAD_SIG, host::verify(a as i32, key.as_ref(), signature.as_ref(), digest.as_ref()))
    }

    /// Signs a digest with a key of the operator.
    pub fn sign(self, key: &str, a: Algorithm, digest: impl AsRef<[u8]>) -> Result<Text<'s>> {
        arena::read(|b| host::sign(key.as_bytes(), a as i32, digest.as_ref(), b)).map(|b| Text(b))
    }

    /// Makes a MAC with a key of the operator.
    pub fn hmac(self, key: &str, a: Algorithm, data: impl AsRef<[u8]>) -> Result<Text<'s>> {
        arena::read(|b| host::hmac(key.as_bytes(), a as i32, data.as_ref(), b)).map(|b| Text(b))
    }

    /// Whether `hash` is one of `password`: bcrypt, argon2id, scrypt,
    /// sha512-crypt or PBKDF2. Four may be checked in a call.
    pub fn check_password(self, hash: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Result<bool> {
        let n = host::password_verify(hash.as_ref(), password.as_ref());
        check(n).map(|_| n == 1)
    }
}

/// A digest that grows. Dropping it ends it.
pub struct Digest<'s> {
    handle: i32,
    session: PhantomData<&'s Session>,
}

impl<'s> Digest<'s> {
    /// Hashes data.
    pub fn update(&mut self, data: impl AsRef<[u8]>) -> Result {
        check(host::digest_update(self.handle, data.as_ref()))
    }

    /// Hashes `len` octets of the body from `off`, `None`: all that follow.
    pub fn body(&mut self, off: i64, len: Option<i64>, form: Canonicalization) -> Result {
        check(host::digest_body(self.handle, off, len.unwrap_or(-1), form as i32))
    }

    /// The digest, which ends.
    pub fn sum(self) -> Result<Text<'s>> {
        let sum = arena::read(|b| host::digest_final(self.handle, b)).map(|b| Text(b));
        if sum.is_ok() {
            core::mem::forget(self); // the handle has ended
        }
        sum
    }
}

impl Drop for Digest<'_> {
    fn drop(&mut self) {
        host::digest_final(self.handle, &mut [0; 64]);
    }
}
