
const algorithms = { "sha1": 1, "sha256": 2, "sha512": 3, "ed25519": 16, "rsa": 17, "rsa-pss": 18, "ecdsa-p256": 19 };
const algorithm = (name) => algorithms[name] ?? raise(-7, `crypto: the algorithm ${name}`);
const forms2 = { raw: 0, simple: 1, relaxed: 2 };
const sum = (v, what) => (typeof v === "number" ? raise(v, `crypto: ${what}`) : v);
class Digest {
  #handle;
  constructor(name) { this.#handle = check(host.crypto_digest_open(algorithm(name)), "crypto: digest"); }
  update(octets) {
    check(host.crypto_digest_update(this.#handle, data(octets)), "crypto: update");
    return this;
  }
  body(form = "raw", offset = 0, length = -1) {
    check(host.crypto_digest_body(this.#handle, offset, length, forms2[form] ?? -1), "crypto: hash the body");
    return this;
  }
  final() { return sum(host.crypto_digest_final(this.#handle, true), "digest"); }
}
export const crypto = Object.freeze({
  digest: (name, octets) => sum(host.crypto_digest(algorithm(name), data(octets), true), "digest"),
  createDigest: (name) => new Digest(name),
  bodyDigest: (name, form = "raw", limit = -1) => new Digest(name).body(form, 0, limit).final(),
  verify: (name, key, signature, digest) => {
    const n = host.crypto_verify(algorithm(name), data(key), data(signature), data(digest));
    return n === -11 ? false : check(n, "crypto: verify") === 0;
  },
  sign: (key, name, digest) => sum(host.crypto_sign(string(key), algorithm(name), data(digest), true), `sign with ${key}`),
  hmac: (key, name, octets) => sum(host.crypto_hmac(string(key), algorithm(name), data(octets), true), `MAC with ${key}`),
  checkPassword: (hash, password) => check(host.crypto_password_verify(string(hash), data(password)), "crypto: check a password") === 1,
});
