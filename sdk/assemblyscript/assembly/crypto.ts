// Cryptography in the server: faster than in the plugin, and with keys that the
// plugin does not see. It needs no grant except for keys (sign_keys) and the body.

import {
  crypto_digest, crypto_digest_body, crypto_digest_final, crypto_digest_open, crypto_digest_update, crypto_hmac, crypto_password_verify,
  crypto_sign, crypto_verify,
} from "./abi";
import { again, at, begin, cap, encode, finishOctets, note } from "./text";

/** A digest that grows; of Alg. Eight may be open at a time, until sum or the end of the hook. */
export class Digest {
  private readonly handle: i32;
  private code: i32 = 0;

  constructor(alg: i32) { this.handle = crypto_digest_open(alg); }

  private did(code: i32): Digest {
    if (code < 0 && this.code == 0) this.code = code;
    return this;
  }
  /** Hashes octets. An error shows in sum. */
  update(data: Uint8Array): Digest { return this.did(crypto_digest_update(this.handle, data.dataStart, data.length)); }
  /** Hashes len octets of the body from off, -1: all that follow, in a form of Canon. Needs the grant body = "read". */
  body(off: i64, len: i64, canon: i32): Digest { return this.did(crypto_digest_body(this.handle, off, len, canon)); }
  /** The digest, which ends; null: there was an error, which lastError says. */
  sum(): Uint8Array | null {
    begin();
    const sum = finishOctets(crypto_digest_final(this.handle, at(), cap()));
    if (this.code == 0) return sum;
    note(this.code);
    return null;
  }
}

export namespace crypto {
  /** Hashes octets; alg is one of Alg. */
  export function digest(alg: i32, data: Uint8Array): Uint8Array | null {
    begin();
    return finishOctets(crypto_digest(alg, data.dataStart, data.length, at(), cap()));
  }
  /** The digest of the canonical body, of it the first limit octets, -1: of all: DKIM's bh=. Needs the grant body = "read". */
  export function bodyDigest(alg: i32, canon: i32, limit: i64 = -1): Uint8Array | null {
    return new Digest(alg).body(0, limit, canon).sum();
  }
  /**
   * 0: the signature is good; Code.E_BAD_SIG: it is not. key is a DER
   * SubjectPublicKeyInfo, of Ed25519 also the 32 octets. digest is the SHA-256,
   * with Ed25519 what was signed.
   */
  export function verify(alg: i32, key: Uint8Array, signature: Uint8Array, digest: Uint8Array): i32 {
    return crypto_verify(alg, key.dataStart, key.length, signature.dataStart, signature.length, digest.dataStart, digest.length);
  }
  /** Signs a digest with a key of the operator; null: lastError says why not. */
  export function sign(key: string, alg: i32, digest: Uint8Array): Uint8Array | null {
    const k = encode(key);
    begin();
    let n = crypto_sign(changetype<usize>(k), k.byteLength, alg, digest.dataStart, digest.length, at(), cap());
    if (again(n)) n = crypto_sign(changetype<usize>(k), k.byteLength, alg, digest.dataStart, digest.length, at(), cap());
    return finishOctets(n);
  }
  /** Makes a MAC with a key of the operator; null: lastError says why not. */
  export function hmac(key: string, alg: i32, data: Uint8Array): Uint8Array | null {
    const k = encode(key);
    begin();
    return finishOctets(crypto_hmac(changetype<usize>(k), k.byteLength, alg, data.dataStart, data.length, at(), cap()));
  }
  /**
   * 1: hash (bcrypt, argon2id, scrypt, sha512-crypt, PBKDF2) is one of the
   * password; 0: it is not; below 0: an error. Four may be checked in a call.
   */
  export function checkPassword(hash: string, password: string): i32 {
    const h = encode(hash);
    const p = encode(password);
    return crypto_password_verify(changetype<usize>(h), h.byteLength, changetype<usize>(p), p.byteLength);
  }
}
