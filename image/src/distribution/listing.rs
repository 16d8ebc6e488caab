//! What a repository holds: its tags, and what refers to a manifest.

use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LINK};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::Scope;
use super::client::{Client, url};
use super::error::ClientError;
use super::http::{Failure, Request, bounded, refused};
use super::publish::fallback;
use super::registries::{Endpoint, origin, same_origin};
use crate::manifest::{Descriptor, Document, MAX_CHILDREN, MAX_DOCUMENT, MediaType};

/// The most pages of a list.
const MAX_PAGES: usize = 1000;
/// The most entries of a list.
const MAX_ENTRIES: usize = 100_000;

impl Client {
    /// Lists the tags of a repository, in the registry's order.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let endpoint = self.upstream(reference)?;
        let scope = Scope::pull(reference.registry(), reference.repository());
        let mut tags = Vec::new();
        let mut next = Some(url(&endpoint, &format!("v2/{}/tags/list?n=1000", reference.repository()))?);
        for _ in 0..MAX_PAGES {
            let Some(at) = next.take() else { return Ok(tags) };
            let (body, following) =
                self.page(&endpoint, &scope, at, HeaderMap::new(), &reference.familiar_name()).await?;
            let Page { tags: more } =
                serde_json::from_slice(&body).map_err(|_| protocol(&endpoint, "its list of tags is none"))?;
            tags.extend(more.unwrap_or_default());
            if tags.len() > MAX_ENTRIES {
                return Err(protocol(&endpoint, &format!("a repository with more than {MAX_ENTRIES} tags")));
            }
            next = following;
        }
        Err(protocol(&endpoint, "its list of tags does not end"))
    }

    /// Lists the repositories of a registry, as far as it tells.
    pub async fn catalog(&self, registry: &str) -> Result<Vec<String>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            repositories: Option<Vec<String>>,
        }
        let endpoint = self.endpoint(registry)?;
        let scope = Scope { registry: registry.to_owned(), text: "registry:catalog:*".to_owned() };
        let mut names = Vec::new();
        let mut next = Some(url(&endpoint, "v2/_catalog?n=1000")?);
        for _ in 0..MAX_PAGES {
            let Some(at) = next.take() else { return Ok(names) };
            let (body, following) = self.page(&endpoint, &scope, at, HeaderMap::new(), registry).await?;
            let Page { repositories } = serde_json::from_slice(&body)
                .map_err(|_| protocol(&endpoint, "its list of repositories is none"))?;
            names.extend(repositories.unwrap_or_default());
            if names.len() > MAX_ENTRIES {
                return Err(protocol(&endpoint, &format!("more than {MAX_ENTRIES} repositories")));
            }
            next = following;
        }
        Err(protocol(&endpoint, "its list of repositories does not end"))
    }

    /// Asks a registry of the first version's manner for repositories, and returns its answer as it came.
    pub async fn search(&self, registry: &str, term: &str, limit: usize) -> Result<Vec<u8>, ClientError> {
        let endpoint = self.endpoint(registry)?;
        let mut at = url(&endpoint, "v1/search")?;
        at.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let scope = Scope::login(registry);
        let what = format!("search at {registry}");
        self.page(&endpoint, &scope, at, HeaderMap::new(), &what).await.map(|(body, _)| body)
    }

    /// Lists the manifests that refer to another one, as far as the registry knows or was told under the fallback tag.
    ///
    /// What it says is a hint only: whoever uses a manifest fetches it by its digest and looks at its `subject`.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: BlobDigest,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let endpoint = self.upstream(reference)?;
        let scope = Scope::pull(reference.registry(), reference.repository());
        let mut accept = HeaderMap::new();
        accept.insert(ACCEPT, HeaderValue::from_static(MediaType::OCI_INDEX));
        let mut entries = Vec::new();
        let mut next = Some(url(&endpoint, &format!("v2/{}/referrers/{subject}", reference.repository()))?);
        for _ in 0..MAX_PAGES {
            let Some(at) = next.take() else { return Ok(entries) };
            let what = reference.familiar_name();
            let (body, following) = match self.page(&endpoint, &scope, at, accept.clone(), &what).await {
                Ok(page) => page,
                Err(error) if error.is_not_found() && entries.is_empty() => {
                    return self.referrers_by_tag(reference, subject).await;
                }
                Err(error) => return Err(error),
            };
            let document = Document::parse(&body, Some(MediaType::OCI_INDEX))
                .map_err(|error| ClientError::Document(what, error))?;
            let Document::Index(index) = document else {
                return Err(protocol(&endpoint, "its list of referrers is none"));
            };
            entries.extend(index.manifests);
            if entries.len() > MAX_CHILDREN {
                return Err(protocol(&endpoint, "its list of referrers is too long"));
            }
            next = following;
        }
        Err(protocol(&endpoint, "its list of referrers does not end"))
    }

    async fn referrers_by_tag(
        &self,
        reference: &Reference,
        subject: BlobDigest,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let Some(tagged) = fallback(reference, subject) else { return Ok(Vec::new()) };
        match self.manifest_upstream(&tagged).await {
            Ok(fetched) => Ok(match fetched.document {
                Document::Index(index) => index.manifests,
                Document::Manifest(_) => Vec::new(),
            }),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Asks what a reference names at the registry itself, without fetching it; nothing if there is no such thing.
    ///
    /// A registry's word for it, good for questions only.
    pub async fn manifest_stated(&self, reference: &Reference) -> Result<Option<Descriptor>, ClientError> {
        let endpoint = self.upstream(reference)?;
        let scope = Scope::pull(reference.registry(), reference.repository());
        let wanted = super::pull::wanted(reference);
        let path = format!("v2/{}/manifests/{wanted}", reference.repository());
        let mut request = Request::new(Method::HEAD, url(&endpoint, &path)?);
        for media_type in MediaType::DOCUMENTS {
            request.headers.append(ACCEPT, HeaderValue::from_static(media_type));
        }
        self.transport
            .retry(|| async {
                let response = self.authorized(&endpoint, &scope, request.clone()).await?;
                match response.status() {
                    StatusCode::OK => Ok(stated(&response)),
                    StatusCode::NOT_FOUND => Ok(None),
                    _ => Err(refused(response, &reference.familiar()).await),
                }
            })
            .await
    }

    /// Fetches a page of a list, and says where the next one is.
    async fn page(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        at: Url,
        headers: HeaderMap,
        what: &str,
    ) -> Result<(Vec<u8>, Option<Url>), ClientError> {
        self.transport
            .retry(|| async {
                let mut request = Request::get(at.clone());
                request.headers = headers.clone();
                let response = self.authorized(endpoint, scope, request).await?;
                if response.status() != StatusCode::OK {
                    return Err(refused(response, what).await);
                }
                let next = next_page(&response).map_err(Failure::Final)?;
                let body = bounded(response, MAX_DOCUMENT, Some(self.transport.pace())).await?;
                Ok((body, next))
            })
            .await
    }
}

fn protocol(endpoint: &Endpoint, why: &str) -> ClientError {
    ClientError::Protocol { origin: endpoint.origin(), why: why.to_owned() }
}

/// Reads what the headers of a response say of a manifest.
fn stated(response: &Response) -> Option<Descriptor> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let digest = header("docker-content-digest")?.parse().ok()?;
    let size = header("content-length")?.parse().ok()?;
    let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    Some(Descriptor::new(media_type.split(';').next().unwrap_or_default().trim(), digest, size))
}

/// Reads where the next page of a list is: on the same server, or the list is not to be gone on with.
fn next_page(response: &Response) -> Result<Option<Url>, ClientError> {
    let from = response.url();
    let links = response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    for link in links.filter(|link| link.len() <= 8 << 10).flat_map(|text| text.split(',')) {
        let Some((target, parameters)) = link.trim().strip_prefix('<').and_then(|rest| rest.split_once('>'))
        else {
            continue;
        };
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("rel=next") || parameter.eq_ignore_ascii_case("rel=\"next\"")
        });
        if !is_next {
            continue;
        }
        let next = from.join(target).ok().filter(|next| same_origin(from, next));
        let why = "the next page of a list is elsewhere".to_owned();
        return next.map(Some).ok_or(ClientError::Protocol { origin: origin(from), why });
    }
    Ok(None)
}
