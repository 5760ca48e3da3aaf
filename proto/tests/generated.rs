//! `src/v1.rs` is what the `.proto` files generate, and the files keep to what strict decoding relies on.
//! `FARAMESH_UPDATE=1 cargo test -p faramesh-proto` writes it anew; ordinary builds need no generator.
#![forbid(unsafe_code)]

use std::path::Path;

use protox::prost_reflect::prost_types::{
    FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const FILES: [&str; 5] = ["agent", "admin", "attach", "signer", "index"];

#[expect(
    clippy::unwrap_used,
    reason = "a test helper: a .proto file that does not parse fails the test"
)]
fn descriptors() -> FileDescriptorSet {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    protox::Compiler::new([here])
        .unwrap()
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES.map(|name| here.join(format!("faramesh/v1/{name}.proto"))))
        .unwrap()
        .file_descriptor_set()
}

#[test]
fn the_committed_code_is_what_the_proto_files_generate() {
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .codec_path("crate::StrictCodec")
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .compile_fds(descriptors())
        .unwrap();
    let generated = std::fs::read_to_string(out.path().join("faramesh.v1.rs")).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/v1.rs");
    if std::env::var_os("FARAMESH_UPDATE").is_some() {
        std::fs::write(&committed, &generated).unwrap();
    }
    assert!(
        std::fs::read_to_string(&committed).unwrap_or_default() == generated,
        "src/v1.rs is not what proto/faramesh/v1 generates: run with FARAMESH_UPDATE=1"
    );
}

#[test]
fn no_message_has_a_field_that_could_be_written_shorter_than_its_canonical_form() {
    for file in descriptors().file {
        assert_eq!(file.syntax(), "proto3", "{}", file.name());
        for message in &file.message_type {
            assert!(
                message.nested_type.is_empty(),
                "{}: nested types (maps among them) are not checked here",
                message.name()
            );
            for field in &message.field {
                let repeated = field.label() == Label::Repeated;
                let delimited =
                    matches!(field.r#type(), Type::String | Type::Bytes | Type::Message);
                assert!(
                    !repeated || delimited,
                    "{}.{}: a packed field",
                    message.name(),
                    field.name()
                );
                assert_ne!(
                    field.r#type(),
                    Type::Group,
                    "{}.{}",
                    message.name(),
                    field.name()
                );
            }
        }
    }
}
