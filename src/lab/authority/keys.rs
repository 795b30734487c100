//! An authority's two RSA keys, and the certificate by which one speaks for the other.
//!
//! No secret: the pairs of the first authorities are in `keys.txt` for anyone to read,
//! because making them takes longer than all the rest of a network; they serve every seed.
//! Called by `authority/mod.rs`. Spec: dir-spec, "Creating key certificates".
//!
//! C tor: accepts keys of any length there, Arti from 1024 bits on; the public network has
//! 3072 and 2048.

use core::net::SocketAddrV4;

use crate::base::time::Wall;
use crate::base::{RsaId, text};
use crate::crypto::{Error, kdf, rsa};
use crate::lab::seed::SeededEntropy;
use crate::wire::netdoc::{write_line, write_object};

/// Bits of either key; the least that Arti and we accept.
const BITS: u32 = 1024;
/// For each authority two lines: identity key, signing key. PKCS#1 DER in base64.
const SHIPPED: &str = include_str!("keys.txt");

/// What an authority signs with.
pub(super) struct Keys {
    identity: rsa::KeyPair,
    signing: rsa::KeyPair,
}

impl Keys {
    /// Those of authority `number`: shipped if there are any, made from the seed if not.
    pub(super) fn of(number: usize, seed: u64) -> Result<Keys, Error> {
        let mut lines = SHIPPED.lines().filter(|line| !line.starts_with('#')).skip(number * 2);
        match (lines.next(), lines.next()) {
            (Some(identity), Some(signing)) => Ok(Keys { identity: shipped(identity)?, signing: shipped(signing)? }),
            _ => Keys::made(number, seed),
        }
    }

    fn made(number: usize, seed: u64) -> Result<Keys, Error> {
        let mut entropy = SeededEntropy::new(seed, &format!("authority {number}"));
        Ok(Keys {
            identity: rsa::KeyPair::random(&mut entropy, BITS)?,
            signing: rsa::KeyPair::random(&mut entropy, BITS)?,
        })
    }

    /// What the authority is known by: its "v3 identity".
    pub(super) fn identity(&self) -> RsaId {
        self.identity.public().id()
    }

    /// What its signing key is known by.
    pub(super) fn signing(&self) -> RsaId {
        self.signing.public().id()
    }

    /// Signs a digest with the signing key.
    pub(super) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, Error> {
        self.signing.sign(digest)
    }

    /// The certificate, good between the two dates.
    pub(super) fn certificate(&self, at: SocketAddrV4, published: Wall, expires: Wall) -> Result<String, Error> {
        let mut out = String::with_capacity(2048);
        write_line(&mut out, "dir-key-certificate-version", &["3"]);
        write_line(&mut out, "dir-address", &[&at.to_string()]);
        write_line(&mut out, "fingerprint", &[&text::hex(&self.identity().0)]);
        write_line(&mut out, "dir-key-published", &[&published.to_string()]);
        write_line(&mut out, "dir-key-expires", &[&expires.to_string()]);
        write_line(&mut out, "dir-identity-key", &[]);
        write_object(&mut out, "RSA PUBLIC KEY", &self.identity.public().to_der());
        write_line(&mut out, "dir-signing-key", &[]);
        write_object(&mut out, "RSA PUBLIC KEY", &self.signing.public().to_der());
        write_line(&mut out, "dir-key-crosscert", &[]);
        write_object(&mut out, "ID SIGNATURE", &self.signing.sign(&self.identity().0)?);
        write_line(&mut out, "dir-key-certification", &[]);
        let signature = self.identity.sign(&kdf::sha1(&[out.as_bytes()]))?;
        write_object(&mut out, "SIGNATURE", &signature);
        Ok(out)
    }
}

fn shipped(line: &str) -> Result<rsa::KeyPair, Error> {
    rsa::KeyPair::from_der(&text::from_base64(line).map_err(|_| Error::BadRsaKey)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::netdoc::Tokenizer;
    use core::net::Ipv4Addr;

    /// How the file was made; it holds nine.
    #[test]
    fn shipped_keys_are_those_that_seed_1_gives() {
        let mut lines = SHIPPED.lines().filter(|line| !line.starts_with('#'));
        let keys = Keys::made(0, 1).unwrap();
        for pair in [keys.identity, keys.signing] {
            assert_eq!(lines.next(), Some(&text::base64(&pair.to_der().unwrap())[..]));
        }
        assert_eq!(lines.count(), 9 * 2 - 2);
    }

    #[test]
    fn every_authority_has_keys_of_its_own() {
        let ids = |number| Keys::of(number, 1).map(|keys| [keys.identity(), keys.signing()]).unwrap();
        let mut all: Vec<_> = (0..10).flat_map(ids).collect();
        assert_eq!(all[18..], Keys::made(9, 1).map(|keys| [keys.identity(), keys.signing()]).unwrap());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 20);
    }

    #[test]
    fn a_certificate_is_signed_both_ways() {
        let keys = Keys::of(0, 1).unwrap();
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9030);
        let text = keys.certificate(at, Wall::from_secs(1_795_000_000), Wall::from_secs(1_800_000_000)).unwrap();
        let items: Vec<_> = Tokenizer::new(text.as_bytes()).map(|item| item.unwrap()).collect();
        let object = |keyword| {
            let item = items.iter().find(|item| item.keyword == keyword).unwrap();
            item.object.unwrap().decode().unwrap()
        };
        let key = |keyword| rsa::PublicKey::from_der(&object(keyword)).unwrap();
        let (identity, signing) = (key("dir-identity-key"), key("dir-signing-key"));
        assert_eq!(identity.id(), keys.identity());
        assert_eq!(signing.verify(&identity.id().0, &object("dir-key-crosscert")), Ok(()));
        let end = text.find("dir-key-certification\n").unwrap() + "dir-key-certification\n".len();
        let digest = kdf::sha1(&[&text.as_bytes()[..end]]);
        assert_eq!(identity.verify(&digest, &object("dir-key-certification")), Ok(()));
        let keywords: Vec<_> = items.iter().map(|item| item.keyword).collect();
        assert_eq!(
            keywords,
            [
                "dir-key-certificate-version",
                "dir-address",
                "fingerprint",
                "dir-key-published",
                "dir-key-expires",
                "dir-identity-key",
                "dir-signing-key",
                "dir-key-crosscert",
                "dir-key-certification"
            ]
        );
    }
}
