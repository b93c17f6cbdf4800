//! Signed envelopes (DSSE 1.0 with Ed25519): what is signed says of which type it is, and is read
//! only after its signature holds.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// The largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 10;

/// An envelope as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What was signed, in base64.
    pub payload: String,
    /// The type of what was signed.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Exactly one.
    pub signatures: Vec<Signature>,
}

/// A signature as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Whose: the key's identifier.
    pub keyid: String,
    /// The 64 bytes, in base64.
    pub sig: String,
}

/// Why an envelope is not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not in the form.
    #[error("the envelope is malformed: {0}")]
    Malformed(&'static str),
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
}

/// A key that signs. It has no `Debug`, `Display` or `Serialize` on purpose.
#[expect(missing_debug_implementations, reason = "nobody can print it")]
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

/// A key that verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey([u8; 32]);

/// The system gives no random bytes, or a seed is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key can be made: the system gives no random bytes, or the seed is no seed")]
pub struct NoKey;

impl SigningKey {
    /// Returns the key of a seed: 32 random bytes.
    ///
    /// # Errors
    /// Never for 32 bytes; the library's own check is passed on.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NoKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoKey)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoKey)?;
        let public = VerifyingKey(public);
        Ok(Self { pair, public })
    }

    /// Returns the seed of a new key, from the system's random bytes: whoever keeps it wipes it.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new_seed() -> Result<[u8; 32], NoKey> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| NoKey)?;
        Ok(seed)
    }

    /// Returns the key that verifies what this one signs.
    #[must_use]
    pub const fn verifying(&self) -> VerifyingKey {
        self.public
    }

    /// Puts a payload into an envelope.
    #[must_use]
    pub fn seal(&self, payload_type: &str, payload: &[u8]) -> Envelope {
        let signature = self.pair.sign(&pre_authentication(payload_type, payload));
        Envelope {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![Signature {
                keyid: self.public.id(),
                sig: STANDARD.encode(signature.as_ref()),
            }],
        }
    }
}

impl VerifyingKey {
    /// Returns the key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key as it is written: base64 of 32 bytes.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Returns the key as it is written.
    #[must_use]
    pub fn written(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Returns the identifier: `ed25519:` and the first 16 bytes of the key's BLAKE3, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = blake3::hash(&self.0).to_hex();
        format!("ed25519:{}", &digest.as_str()[..32])
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.id())
    }
}

impl Envelope {
    /// Returns whose signature it claims to bear.
    ///
    /// # Errors
    /// When it has not exactly one.
    pub fn signer(&self) -> Result<&str, Fault> {
        match self.signatures.as_slice() {
            [only] => Ok(&only.keyid),
            _ => Err(Fault::Malformed("there must be exactly one signature")),
        }
    }

    /// Returns the payload, if it is of this type and its signature is this key's.
    ///
    /// # Errors
    /// When it is of another type, malformed, or the signature does not hold.
    pub fn open(&self, payload_type: &str, key: &VerifyingKey) -> Result<Vec<u8>, Fault> {
        if self.payload_type != payload_type {
            return Err(Fault::Malformed("the payload is of another type"));
        }
        if self.payload.len() > PAYLOAD_BYTES_MAX * 4 / 3 + 4 {
            return Err(Fault::Malformed("the payload is too large"));
        }
        let [signature] = self.signatures.as_slice() else {
            return Err(Fault::Malformed("there must be exactly one signature"));
        };
        if signature.keyid != key.id() {
            return Err(Fault::Signature);
        }
        let payload = STANDARD.decode(&self.payload);
        let payload = payload.map_err(|_| Fault::Malformed("the payload is not base64"))?;
        let signature = STANDARD.decode(&signature.sig);
        let signature = signature.map_err(|_| Fault::Malformed("the signature is not base64"))?;
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&pre_authentication(payload_type, &payload), &signature)
            .map_err(|_| Fault::Signature)?;
        Ok(payload)
    }
}

/// Returns what is really signed: type and payload, each with its length before it.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    #[test]
    fn what_is_signed_is_as_the_protocol_says() {
        // The example of the DSSE protocol, version 1.0.
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn keys_are_those_of_rfc_8032() {
        // Section 7.1, test 1: the seed and its public key.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let public = SigningKey::from_seed(&seed).unwrap().verifying();
        assert_eq!(
            public.written(),
            "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        );
        assert_eq!(VerifyingKey::read(&public.written()), Some(public));
        assert_eq!(VerifyingKey::read("AAAA"), None);
    }

    #[test]
    fn another_type_key_payload_or_signature_does_not_open() {
        let sealed = key(1).seal("a", b"payload");
        let mine = key(1).verifying();
        assert_eq!(sealed.open("a", &mine).unwrap(), b"payload");
        assert!(sealed.open("b", &mine).is_err());
        assert_eq!(sealed.open("a", &key(2).verifying()), Err(Fault::Signature));
        let mut claimed = key(2).seal("a", b"payload");
        claimed.signatures[0].keyid = mine.id();
        assert_eq!(claimed.open("a", &mine), Err(Fault::Signature));
        let mut retyped = sealed.clone();
        retyped.payload_type = "b".to_owned();
        assert_eq!(retyped.open("b", &mine), Err(Fault::Signature));
        let mut twice = sealed.clone();
        twice.signatures.push(sealed.signatures[0].clone());
        assert!(twice.open("a", &mine).is_err() && twice.signer().is_err());
        let mut none = sealed;
        none.signatures.clear();
        assert!(none.open("a", &mine).is_err());
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(
            SigningKey::new_seed().unwrap(),
            SigningKey::new_seed().unwrap()
        );
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_found(payload: Vec<u8>, at: proptest::sample::Index, bit in 0..8_u8) {
            let sealed = key(3).seal("t", &payload);
            let public = key(3).verifying();
            prop_assert_eq!(sealed.open("t", &public).unwrap(), &payload[..]);
            let mut signature = STANDARD.decode(&sealed.signatures[0].sig).unwrap();
            signature[at.index(64)] ^= 1 << bit;
            let mut other = sealed.clone();
            other.signatures[0].sig = STANDARD.encode(&signature);
            prop_assert!(other.open("t", &public).is_err());
            if !payload.is_empty() {
                let mut changed = payload.clone();
                changed[at.index(payload.len())] ^= 1 << bit;
                let mut other = sealed;
                other.payload = STANDARD.encode(&changed);
                prop_assert_eq!(other.open("t", &public), Err(Fault::Signature));
            }
        }
    }
}
