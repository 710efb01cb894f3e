//! The cryptography of signed requests, by OpenSSL: it is in every build already, for Kafka's TLS, and hashes
//! as fast as the processor can.

use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer as Signing, SigningAlgorithm,
};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sha::Sha256;
use openssl::sign::Signer;

#[derive(Debug)]
pub(super) struct OpenSsl;

const BLOCK: usize = 64;

fn unsupported(what: impl std::fmt::Debug) -> object_store::Error {
    object_store::Error::NotSupported { source: format!("{what:?} is not built in").into() }
}

impl CryptoProvider for OpenSsl {
    fn digest(&self, algorithm: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Digest::new())),
            other => Err(unsupported(other)),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> object_store::Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Hmac::new(secret))),
            other => Err(unsupported(other)),
        }
    }

    fn sign(&self, algorithm: SigningAlgorithm, pem: &[u8]) -> object_store::Result<Box<dyn Signing>> {
        match algorithm {
            SigningAlgorithm::RS256 => Ok(Box::new(Rs256(PKey::private_key_from_pem(pem).map_err(failed)?))),
            other => Err(unsupported(other)),
        }
    }
}

struct Digest {
    under_way: Sha256,
    finished: [u8; 32],
}

impl Digest {
    fn new() -> Digest {
        Digest { under_way: Sha256::new(), finished: [0; 32] }
    }
}

impl DigestContext for Digest {
    fn update(&mut self, data: &[u8]) {
        self.under_way.update(data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.finished = std::mem::replace(&mut self.under_way, Sha256::new()).finish();
        Ok(&self.finished)
    }
}

/// RFC 2104.
struct Hmac {
    inner: Digest,
    outer: [u8; BLOCK],
    finished: [u8; 32],
}

impl Hmac {
    fn new(secret: &[u8]) -> Hmac {
        let mut key = [0; BLOCK];
        if secret.len() > BLOCK {
            let mut hash = Sha256::new();
            hash.update(secret);
            key[..32].copy_from_slice(&hash.finish());
        } else {
            key[..secret.len()].copy_from_slice(secret);
        }
        let mut inner = Digest::new();
        inner.update(&key.map(|byte| byte ^ 0x36));
        Hmac { inner, outer: key.map(|byte| byte ^ 0x5c), finished: [0; 32] }
    }
}

impl HmacContext for Hmac {
    fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        let mut outer = Sha256::new();
        outer.update(&self.outer);
        outer.update(self.inner.finish()?);
        self.finished = outer.finish();
        Ok(&self.finished)
    }
}

struct Rs256(PKey<Private>);

impl Signing for Rs256 {
    fn sign(&self, text: &[u8]) -> object_store::Result<Vec<u8>> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.0).map_err(failed)?;
        signer.sign_oneshot_to_vec(text).map_err(failed)
    }
}

fn failed(error: openssl::error::ErrorStack) -> object_store::Error {
    object_store::Error::Generic { store: "OpenSSL", source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_published_vectors_come_out() {
        let mut digest = OpenSsl.digest(DigestAlgorithm::Sha256).unwrap();
        digest.update(b"a");
        digest.update(b"bc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(digest.finish().unwrap()), expected);

        let hmac = |key: &[u8], data: &[u8]| {
            let mut hmac = OpenSsl.hmac(DigestAlgorithm::Sha256, key).unwrap();
            hmac.update(data);
            hex(hmac.finish().unwrap())
        };
        // RFC 4231, cases 2 and 6: a short key, and one longer than a block.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac(b"Jefe", b"what do ya want for nothing?"), expected);
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"), expected);
    }

    #[test]
    fn an_rsa_signature_is_the_keys_own() {
        let key = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
        let pem = key.private_key_to_pem_pkcs8().unwrap();
        let signature = OpenSsl.sign(SigningAlgorithm::RS256, &pem).unwrap().sign(b"text").unwrap();
        let mut check = openssl::sign::Verifier::new(MessageDigest::sha256(), &key).unwrap();
        assert!(check.verify_oneshot(&signature, b"text").unwrap());
        assert!(OpenSsl.sign(SigningAlgorithm::RS256, b"no key").is_err());
    }
}
