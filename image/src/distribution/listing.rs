//! What a repository holds: its tags, and what refers to a manifest.

use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, LINK};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::Pending;
use super::auth::Scope;
use super::client::{Client, url};
use super::error::ClientError;
use super::http::{Failure, Request, bounded};
use super::publish::fallback;
use super::registries::{Endpoint, origin, same_origin};
use crate::manifest::{Descriptor, Document, MAX_CHILDREN, MAX_DOCUMENT, MediaType};

/// The most pages of a list.
const MAX_PAGES: usize = 1000;
/// The most entries of a list.
const MAX_ENTRIES: usize = 100_000;

impl Client {
    /// Lists the tags of a repository, in the registry's order.
    pub fn tags<'a>(&'a self, reference: &'a Reference) -> Pending<'a, Vec<String>> {
        Box::pin(async move {
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
                let Page { tags: more } = serde_json::from_slice(&body)
                    .map_err(|_| protocol(&endpoint, "its list of tags is none"))?;
                tags.extend(more.unwrap_or_default());
                if tags.len() > MAX_ENTRIES {
                    return Err(protocol(
                        &endpoint,
                        &format!("a repository with more than {MAX_ENTRIES} tags"),
                    ));
                }
                next = following;
            }
            Err(protocol(&endpoint, "its list of tags does not end"))
        })
    }

    /// Lists the repositories of a registry, as far as it tells.
    pub fn catalog<'a>(&'a self, registry: &'a str) -> Pending<'a, Vec<String>> {
        Box::pin(async move {
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
        })
    }

    /// Asks a registry of the first version's manner for repositories, and returns its answer as it came.
    pub fn search<'a>(&'a self, registry: &'a str, term: &'a str, limit: usize) -> Pending<'a, Vec<u8>> {
        Box::pin(async move {
            let endpoint = self.endpoint(registry)?;
            let mut at = url(&endpoint, "v1/search")?;
            at.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
            let scope = Scope::login(registry);
            let what = format!("search at {registry}");
            self.page(&endpoint, &scope, at, HeaderMap::new(), &what).await.map(|(body, _)| body)
        })
    }

    /// Lists the manifests that refer to another one, as far as the registry knows or was told under the fallback tag.
    ///
    /// What it says is a hint only: whoever uses a manifest fetches it by its digest and looks at its `subject`.
    pub fn referrers<'a>(
        &'a self,
        reference: &'a Reference,
        subject: BlobDigest,
    ) -> Pending<'a, Vec<Descriptor>> {
        Box::pin(async move {
            let endpoint = self.upstream(reference)?;
            let scope = Scope::pull(reference.registry(), reference.repository());
            let mut accept = HeaderMap::new();
            accept.insert(ACCEPT, HeaderValue::from_static(MediaType::OCI_INDEX));
            let mut entries = Vec::new();
            let mut next =
                Some(url(&endpoint, &format!("v2/{}/referrers/{subject}", reference.repository()))?);
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
        })
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
                    return Err(self.transport.refused(response, what).await);
                }
                let next = next_page(&response).map_err(Failure::Final)?;
                let body = bounded(response, MAX_DOCUMENT, self.transport.pace()).await?;
                Ok((body, next))
            })
            .await
    }
}

fn protocol(endpoint: &Endpoint, why: &str) -> ClientError {
    ClientError::Protocol { origin: endpoint.origin(), why: why.to_owned() }
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
