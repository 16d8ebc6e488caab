//! The endpoints of the distribution specification 1.1 by their numbers (`end-1` to `end-13`), with what it says a registry
//! must answer.

use super::*;

fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// Checks that a refusal has a body of the form that the specification gives, with a code of its list.
fn code(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"));
    let error = &value["errors"][0];
    assert!(error["message"].is_string(), "{body}");
    error["code"].as_str().unwrap().to_owned()
}

impl Served {
    /// Has a blob be in a repository.
    fn blob(&self, repository: &str, bytes: &[u8]) -> BlobDigest {
        let digest = BlobDigest::of(bytes);
        let put = format!("POST /v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(self.status(&put, "", bytes), 201);
        digest
    }

    /// Returns the status and the code of an answer that is an error.
    fn refused(&self, request: &str, headers: &str, body: &[u8]) -> String {
        let (head, body) = self.ask(request, headers, body);
        format!("{} {}", &head[9..12], code(&body))
    }

    /// Puts a manifest without layers under a name, and returns the head of the answer and its digest.
    fn manifest(
        &self,
        repository: &str,
        name: Option<&str>,
        remark: &str,
        subject: Option<&Descriptor>,
    ) -> (String, Descriptor) {
        self.blob(repository, b"{}");
        let mut manifest = Manifest::new(Descriptor::of("application/vnd.example.config", b"{}"), Vec::new());
        manifest.extra.insert("artifactType".into(), format!("application/vnd.example.{remark}").into());
        if let Some(subject) = subject {
            manifest.extra.insert("subject".into(), serde_json::to_value(subject).unwrap());
        }
        let bytes = manifest.to_bytes();
        let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &bytes);
        let name = name.map_or_else(|| descriptor.digest.to_string(), str::to_owned);
        let kind = format!("Content-Type: {}\r\n", MediaType::OCI_MANIFEST);
        let (head, body) = self.ask(&format!("PUT /v2/{repository}/manifests/{name}"), &kind, &bytes);
        assert!(head.starts_with("http/1.1 201"), "{head} {body}");
        (head, descriptor)
    }
}

#[test]
fn end_1_says_that_this_is_a_registry() {
    let served = served(Rights::Read, Bounds::default());
    assert_eq!(served.status("GET /v2/", "", b""), 200);
}

#[test]
fn end_2_gives_blobs_and_parts_of_them() {
    let served = served(Rights::Push, Bounds::default());
    let digest = served.blob("a/b", b"0123456789");
    let path = format!("/v2/a/b/blobs/{digest}");
    let (head, body) = served.ask(&format!("GET {path}"), "", b"");
    assert!(head.starts_with("http/1.1 200") && body == "0123456789", "{head}");
    assert_eq!(header(&head, "docker-content-digest"), Some(digest.to_string()));
    let (head, body) = served.ask(&format!("HEAD {path}"), "", b"");
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    assert_eq!(header(&head, "content-length").as_deref(), Some("10"));
    assert_eq!(header(&head, "docker-content-digest"), Some(digest.to_string()));
    for (range, status, part, said) in [
        ("bytes=2-4", "206", "234", "bytes 2-4/10"),
        ("bytes=7-", "206", "789", "bytes 7-9/10"),
        ("bytes=-1", "206", "9", "bytes 9-9/10"),
    ] {
        let (head, body) = served.ask(&format!("GET {path}"), &format!("Range: {range}\r\n"), b"");
        assert_eq!((&head[9..12], body.as_str()), (status, part), "{range}");
        assert_eq!(header(&head, "content-range").as_deref(), Some(said));
    }
    let (head, _) = served.ask(&format!("GET {path}"), "Range: bytes=10-\r\n", b"");
    assert!(head.starts_with("http/1.1 416"), "{head}");
    let nobody = BlobDigest::of(b"nobody");
    assert_eq!(served.status(&format!("HEAD /v2/a/b/blobs/{nobody}"), "", b""), 404);
    assert_eq!(served.refused(&format!("GET /v2/a/b/blobs/{nobody}"), "", b""), "404 BLOB_UNKNOWN");
    assert_eq!(served.refused("GET /v2/a/b/blobs/sha256:none", "", b""), "400 DIGEST_INVALID");
    assert_eq!(served.refused(&format!("GET /v2/A/blobs/{digest}"), "", b""), "400 NAME_INVALID");
}

#[test]
fn end_3_gives_manifests_by_tag_and_digest() {
    let served = served(Rights::Push, Bounds::default());
    let (_, put) = served.manifest("a/b", Some("1"), "x", None);
    for name in ["1".to_owned(), put.digest.to_string()] {
        for method in ["GET", "HEAD"] {
            let (head, body) = served.ask(&format!("{method} /v2/a/b/manifests/{name}"), "", b"");
            assert!(head.starts_with("http/1.1 200"), "{head}");
            assert_eq!(header(&head, "docker-content-digest"), Some(put.digest.to_string()));
            assert_eq!(header(&head, "content-type").as_deref(), Some(MediaType::OCI_MANIFEST));
            assert_eq!(header(&head, "content-length"), Some(put.size.to_string()));
            let came = if method == "GET" { put.digest } else { BlobDigest::of(b"") };
            assert_eq!(BlobDigest::of(body.as_bytes()), came, "not a byte is another one");
        }
    }
    assert_eq!(served.status("HEAD /v2/a/b/manifests/2", "", b""), 404);
    assert_eq!(served.refused("GET /v2/a/b/manifests/2", "", b""), "404 MANIFEST_UNKNOWN");
}

#[test]
fn end_4a_and_6_take_a_blob_in_one_piece_after_asking_for_a_place() {
    let served = served(Rights::Push, Bounds::default());
    let (head, _) = served.ask("POST /v2/a/blobs/uploads/", "", b"");
    assert!(head.starts_with("http/1.1 202"), "{head}");
    let place = header(&head, "location").unwrap();
    let digest = BlobDigest::of(b"whole");
    let kind = "Content-Type: application/octet-stream\r\n";
    let (head, _) = served.ask(&format!("PUT {place}?digest={digest}"), kind, b"whole");
    assert!(head.starts_with("http/1.1 201"), "{head}");
    let found = header(&head, "location").unwrap();
    assert_eq!(served.ask(&format!("GET {found}"), "", b"").1, "whole");
}

#[test]
fn end_4b_takes_a_blob_with_the_first_request() {
    let served = served(Rights::Push, Bounds::default());
    let digest = BlobDigest::of(b"whole");
    let (head, _) = served.ask(&format!("POST /v2/a/blobs/uploads/?digest={digest}"), "", b"whole");
    assert!(head.starts_with("http/1.1 201"), "{head}");
    assert_eq!(served.ask(&format!("GET {}", header(&head, "location").unwrap()), "", b"").1, "whole");
    assert_eq!(
        served.refused(&format!("POST /v2/a/blobs/uploads/?digest={digest}"), "", b"other"),
        "400 DIGEST_INVALID"
    );
}

#[test]
fn end_5_and_13_take_pieces_in_order_and_say_how_far_they_came() {
    let served = served(Rights::Push, Bounds::default());
    let place = served.begin();
    let piece = |place: &str, range: &str, bytes: &[u8]| {
        served.ask(&format!("PATCH {place}"), &format!("Content-Range: {range}\r\n"), bytes).0
    };
    assert!(piece(&place, "3-5", b"def").starts_with("http/1.1 416"), "the first piece is missing");
    let first = piece(&place, "0-2", b"abc");
    assert!(first.starts_with("http/1.1 202"), "{first}");
    assert_eq!(header(&first, "range").as_deref(), Some("0-2"));
    let place = header(&first, "location").unwrap();
    let again = piece(&place, "0-2", b"abc");
    assert!(again.starts_with("http/1.1 416"), "{again}");
    assert!(header(&again, "location").is_some() && header(&again, "range").is_some(), "where to go on");
    let (asked, _) = served.ask(&format!("GET {place}"), "", b"");
    assert!(asked.starts_with("http/1.1 204"), "{asked}");
    assert_eq!(header(&asked, "range").as_deref(), Some("0-2"));
    let place = header(&asked, "location").unwrap();
    let second = piece(&place, "3-5", b"def");
    assert_eq!(header(&second, "range").as_deref(), Some("0-5"));
    let place = header(&second, "location").unwrap();
    let digest = BlobDigest::of(b"abcdefgh");
    let last = served.ask(&format!("PUT {place}?digest={digest}"), "Content-Range: 6-7\r\n", b"gh").0;
    assert!(last.starts_with("http/1.1 201"), "{last}");
    assert_eq!(served.ask(&format!("GET /v2/a/blobs/{digest}"), "", b"").1, "abcdefgh");
    assert_eq!(served.refused(&format!("GET {place}"), "", b""), "404 BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn end_5_takes_a_stream_whose_length_nobody_said() {
    let served = served(Rights::Push, Bounds::default());
    let place = served.begin();
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", served.address);
    let streamed = format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert!(served.raw(streamed.as_bytes()).starts_with("HTTP/1.1 202"));
    let digest = BlobDigest::of(b"abcde");
    assert_eq!(served.status(&format!("PUT {place}?digest={digest}"), "", b""), 201);
}

#[test]
fn end_7_takes_manifests_and_says_where_they_are() {
    let served = served(Rights::Push, Bounds::default());
    let (head, put) = served.manifest("a", Some("1"), "x", None);
    let location = header(&head, "location").unwrap();
    assert_eq!(served.status(&format!("GET {location}"), "", b""), 200);
    assert_eq!(header(&head, "docker-content-digest"), Some(put.digest.to_string()));
    assert_eq!(header(&head, "oci-subject"), None);
    let (head, _) = served.manifest("a", None, "y", Some(&put));
    assert_eq!(header(&head, "oci-subject"), Some(put.digest.to_string()));
    // What it is about may come later.
    let nobody = Descriptor::of(MediaType::OCI_MANIFEST, b"nobody");
    let (head, _) = served.manifest("a", None, "y", Some(&nobody));
    assert_eq!(header(&head, "oci-subject"), Some(nobody.digest.to_string()));
    let kind = format!("Content-Type: {}\r\n", MediaType::OCI_MANIFEST);
    let dangling = Manifest::new(Descriptor::of("x/y", b"nobody"), Vec::new()).to_bytes();
    assert_eq!(served.refused("PUT /v2/a/manifests/2", &kind, &dangling), "400 MANIFEST_BLOB_UNKNOWN");
    assert_eq!(served.refused("PUT /v2/a/manifests/2", &kind, b"{"), "400 MANIFEST_INVALID");
}

#[test]
fn end_8_lists_tags_in_order_and_in_pages() {
    let served = served(Rights::Push, Bounds::default());
    for tag in ["b", "c", "a", "10"] {
        served.manifest("a/b", Some(tag), tag, None);
    }
    let tags = |query: &str| {
        let (head, body) = served.ask(&format!("GET /v2/a/b/tags/list{query}"), "", b"");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["name"], "a/b");
        (value["tags"].to_string(), header(&head, "link"))
    };
    assert_eq!(tags(""), (r#"["10","a","b","c"]"#.to_owned(), None));
    let (page, next) = tags("?n=2");
    assert_eq!(page, r#"["10","a"]"#);
    let next = next.unwrap();
    let next = next.strip_prefix("</v2/a/b/tags/list").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    assert_eq!(tags(next), (r#"["b","c"]"#.to_owned(), None));
    assert_eq!(tags("?last=b"), (r#"["c"]"#.to_owned(), None));
    assert_eq!(tags("?n=0"), ("[]".to_owned(), None));
    assert_eq!(served.refused("GET /v2/nobody/tags/list", "", b""), "404 NAME_UNKNOWN");
}

#[test]
fn end_9_and_10_delete_names_documents_and_blobs() {
    let served = served(Rights::Delete, Bounds::default());
    let (_, put) = served.manifest("a", Some("1"), "x", None);
    served.manifest("a", Some("2"), "x", None);
    assert_eq!(served.status("DELETE /v2/a/manifests/1", "", b""), 202);
    assert_eq!(served.status("GET /v2/a/manifests/1", "", b""), 404);
    assert_eq!(served.status("GET /v2/a/manifests/2", "", b""), 200, "a tag is a name, and no more");
    assert_eq!(served.status(&format!("DELETE /v2/a/manifests/{}", put.digest), "", b""), 202);
    for name in ["2", &put.digest.to_string()] {
        assert_eq!(served.status(&format!("GET /v2/a/manifests/{name}"), "", b""), 404, "{name}");
    }
    let digest = served.blob("a", b"gone soon");
    assert_eq!(served.status(&format!("DELETE /v2/a/blobs/{digest}"), "", b""), 202);
    assert_eq!(served.status(&format!("DELETE /v2/a/blobs/{digest}"), "", b""), 404);
    // Who is not to delete is told that nobody does here.
    let keeps = super::served(Rights::Push, Bounds::default());
    assert_eq!(keeps.refused("DELETE /v2/a/manifests/1", "", b""), "405 UNSUPPORTED");
}

#[test]
fn end_11_takes_blobs_over_from_other_repositories() {
    let served = served(Rights::Push, Bounds::default());
    let digest = served.blob("a", b"shared");
    for (to, from) in [("b", "&from=a"), ("c", "")] {
        let (head, _) = served.ask(&format!("POST /v2/{to}/blobs/uploads/?mount={digest}{from}"), "", b"");
        assert!(head.starts_with("http/1.1 201"), "{head}");
        assert_eq!(header(&head, "location"), Some(format!("/v2/{to}/blobs/{digest}")));
        assert_eq!(served.ask(&format!("GET /v2/{to}/blobs/{digest}"), "", b"").1, "shared");
    }
    // What nobody has is sent after all.
    let nobody = BlobDigest::of(b"nobody");
    let (head, _) = served.ask(&format!("POST /v2/b/blobs/uploads/?mount={nobody}&from=a"), "", b"");
    assert!(head.starts_with("http/1.1 202"), "{head}");
    let place = header(&head, "location").unwrap();
    assert_eq!(served.status(&format!("PUT {place}?digest={nobody}"), "", b"nobody"), 201);
}

#[test]
fn end_12_lists_what_refers_to_a_document() {
    let served = served(Rights::Delete, Bounds::default());
    let (_, about) = served.manifest("a", Some("1"), "x", None);
    let list = |query: &str| {
        let (head, body) = served.ask(&format!("GET /v2/a/referrers/{}{query}", about.digest), "", b"");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(header(&head, "content-type").as_deref(), Some(MediaType::OCI_INDEX));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&value["schemaVersion"], &value["mediaType"]), (&2.into(), &MediaType::OCI_INDEX.into()));
        let entries = value["manifests"].as_array().unwrap().clone();
        (entries, header(&head, "oci-filters-applied"))
    };
    assert_eq!(list(""), (vec![], None), "nothing is no error");
    let (_, first) = served.manifest("a", None, "signature", Some(&about));
    let (_, second) = served.manifest("a", None, "sbom", Some(&about));
    let (mut entries, filtered) = list("");
    entries.sort_by_key(|entry| entry["artifactType"].to_string());
    assert_eq!(filtered, None);
    let digests: Vec<_> = entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
    assert_eq!(digests, [second.digest.to_string(), first.digest.to_string()]);
    assert_eq!(entries[0]["size"], second.size);
    let (entries, filtered) = list("?artifactType=application%2Fvnd.example.sbom");
    assert_eq!((entries.len(), &entries[0]["artifactType"]), (1, &"application/vnd.example.sbom".into()));
    assert_eq!(filtered.as_deref(), Some("artifacttype"), "the head is in lower case here");
    assert_eq!(served.status(&format!("DELETE /v2/a/manifests/{}", first.digest), "", b""), 202);
    assert_eq!(list("").0.len(), 1, "what is deleted refers to nothing");
    assert_eq!(served.status("GET /v2/a/referrers/sha256:none", "", b""), 400);
}
