//! TLS to the broker, from PEM files; errors name the file.

use crate::config::Tls;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or holds no PEM of the kind wanted.
    #[error("{} does not give {what}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// A certificate authority's certificate that cannot be used.
    #[error("{}: {source}", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Our certificate and key do not go together.
    #[error("{} and {} do not go together: {source}", certificate.display(), key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// No protocol version in common with our own TLS library: a defect.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

/// Reads the files.
pub(super) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&tls.ca_file, "the certificate of an authority")? {
        authorities.add(certificate).map_err(|source| TlsError::Authority { file: tls.ca_file.clone(), source })?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .with_root_certificates(authorities);
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "our certificate")?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
                file: key.clone(),
                what: "our private key",
                source,
            })?;
            builder.with_client_auth_cert(chain, private).map_err(|source| TlsError::Identity {
                certificate: certificate.clone(),
                key: key.clone(),
                source,
            })?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::File { file: file.to_path_buf(), what, source };
    let found: Vec<_> = CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() { Err(unreadable(pem::Error::NoItemsFound)) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_what_it_should_hold() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = directory.path().join("missing.pem");
        for ca_file in [empty, missing] {
            let error = client_config(&Tls { ca_file: ca_file.clone(), identity: None }).unwrap_err().to_string();
            assert!(error.contains(&*ca_file.to_string_lossy()) && error.contains("authority"), "{error}");
        }
    }
}
