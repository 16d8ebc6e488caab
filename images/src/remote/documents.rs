//! Documents that are no images: a few small blobs, and a manifest that names them.

use rbuild_image::distribution::Upload;
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;

use super::Remote;
use crate::error::ImagesError;
use crate::pull::registry;

impl Remote {
    /// Fetches a small blob that a manifest names.
    pub fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>, ImagesError> {
        let fetched = self.runtime.wait(self.client.small_blob(reference, descriptor));
        fetched.map_err(|error| registry(reference, error))
    }

    /// Pushes blobs, each with what the manifest says of it, and then the manifest under its name.
    pub fn push_documents(
        &self,
        reference: &Reference,
        blobs: &[(Descriptor, Vec<u8>)],
        manifest: &[u8],
        media_type: &str,
    ) -> Result<BlobDigest, ImagesError> {
        let failed = |error| registry(reference, error);
        self.runtime.wait(async {
            for (descriptor, bytes) in blobs {
                let sender = bytes.as_slice();
                let upload = Upload { descriptor, sender: &sender, mount_from: None };
                self.client.push_blob(reference, upload).await.map_err(failed)?;
            }
            self.client.push_manifest(reference, manifest, media_type).await.map_err(failed)
        })
    }
}
