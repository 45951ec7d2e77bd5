//! The channel binding `tls-server-end-point`: a hash of the server's certificate (RFC 5929, section 4).

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// The signature algorithms of RFC 3279, 4055 and 5758 that imply a hash. RFC 5929 replaces MD5 and SHA-1
/// by SHA-256.
const AS_SHA256: [ObjectIdentifier; 6] = [
    oid("1.2.840.113549.1.1.4"),
    oid("1.2.840.113549.1.1.5"),
    oid("1.2.840.113549.1.1.11"),
    oid("1.2.840.10045.4.1"),
    oid("1.2.840.10045.4.3.2"),
    oid("2.16.840.1.101.3.4.3.2"),
];
const AS_SHA224: [ObjectIdentifier; 2] = [oid("1.2.840.113549.1.1.14"), oid("1.2.840.10045.4.3.1")];
const AS_SHA384: [ObjectIdentifier; 2] = [oid("1.2.840.113549.1.1.12"), oid("1.2.840.10045.4.3.3")];
const AS_SHA512: [ObjectIdentifier; 2] = [oid("1.2.840.113549.1.1.13"), oid("1.2.840.10045.4.3.4")];

/// The binding data for a certificate in DER; `None` if its signature implies no hash (Ed25519, for which
/// PostgreSQL offers no binding either; RSA-PSS) or it can't be parsed.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = Certificate::from_der(certificate).ok()?.signature_algorithm.oid;
    if AS_SHA256.contains(&algorithm) {
        Some(Sha256::digest(certificate).to_vec())
    } else if AS_SHA384.contains(&algorithm) {
        Some(Sha384::digest(certificate).to_vec())
    } else if AS_SHA512.contains(&algorithm) {
        Some(Sha512::digest(certificate).to_vec())
    } else if AS_SHA224.contains(&algorithm) {
        Some(Sha224::digest(certificate).to_vec())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binding(algorithm: &'static rcgen::SignatureAlgorithm) -> (Vec<u8>, Option<Vec<u8>>) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(vec!["db".into()]).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let binding = server_end_point(&der);
        (der, binding)
    }

    #[test]
    fn the_signature_names_the_hash() {
        let (der, bound) = binding(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(bound, Some(Sha256::digest(der).to_vec()));
        let (der, bound) = binding(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(bound, Some(Sha384::digest(der).to_vec()));
        assert_eq!(binding(&rcgen::PKCS_ED25519).1, None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = server_end_point(&bytes);
        }
    }
}
