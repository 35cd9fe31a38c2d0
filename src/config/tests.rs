use std::ffi::OsString;

use super::*;

fn set(name: &str, value: &str) -> Assignment {
    Assignment { flag: "--set", name: name.into(), value: value.into() }
}

fn variable((name, value): (&str, &str)) -> (OsString, OsString) {
    (name.into(), value.into())
}

fn load_all(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.toml");
    std::fs::write(&path, file).unwrap();
    let flags = flags.iter().map(|(name, value)| set(name, value)).collect();
    load(Some(&path), environment.iter().copied().map(variable), flags).map_err(|error| error.to_string())
}

fn wrong(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load_all(file, environment, flags).unwrap_err()
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_from_every_source() {
    for error in [
        wrong("[limits]\nmax_text_byte = 1", &[], &[]),
        wrong("limits = { max_text_byte = 1 }", &[], &[]),
        wrong("[limit]\nmax_text_bytes = 1", &[], &[]),
        wrong("", &[], &[("limits.max_text_byte", "1")]),
        wrong("", &[], &[("limits.max_text_bytes.x", "1")]),
    ] {
        assert!(error.contains("is not a setting; the nearest is limits.max_text_bytes"), "{error}");
    }
    for name in ["RIALTO_LIMITS__MAX_TEXT_BYTE", "RIALTO_LIMITS_MAX_TEXT_BYTES", "RIALTO_limits__max_text_bytes"] {
        let error = wrong("", &[(name, "1")], &[]);
        let expected = format!("{name} is not a setting; the nearest is RIALTO_LIMITS__MAX_TEXT_BYTES");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn an_old_name_is_refused_with_the_new_one_from_every_source() {
    for (error, new) in [
        (wrong("max_text_bytes = 1", &[], &[]), "max_text_bytes (from "),
        (wrong("max_text_bytes = 1", &[], &[]), "was renamed: use limits.max_text_bytes"),
        (wrong("auth = \"token\"", &[], &[]), "was renamed: use auth.mode"),
        (wrong("retain_rooms = { a = { messages = 1 } }", &[], &[]), "was renamed: use retention.rooms"),
        (wrong("", &[], &[("max_watchers", "1")]), "was renamed: use users.max_watchers and rooms.max_watchers"),
        (
            wrong("", &[("RIALTO_MAX_TEXT_BYTES", "1")], &[]),
            "RIALTO_MAX_TEXT_BYTES was renamed: use RIALTO_LIMITS__MAX_TEXT_BYTES",
        ),
    ] {
        assert!(error.contains(new), "{error}");
    }
}

#[test]
fn variables_with_another_use_are_no_settings() {
    let others = [
        ("RIALTO_SERVICE_HOST", "10.0.0.1"),
        ("RIALTO_SERVICE_PORT_GRPC", "50051"),
        ("RIALTO_PORT", "tcp://10.0.0.1:50051"),
        ("RIALTO_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("RIALTO_CONFIG", "x"),
        ("RIALTO_SERVER", "x"),
        ("RIALTO_TOKEN", "x"),
        ("RIALTO_TOKEN_FILE", "x"),
        ("RIALTO_CA", "x"),
        ("RIALTO_CERT", "x"),
        ("RIALTO_KEY", "x"),
        ("RIALTO_BIN", "x"),
        ("RIALTO_TEST_STORM", "1"),
        ("PATH", "x"),
    ];
    assert_eq!(load_all("", &others, &[]).unwrap().config, Config::default());
    for near in ["RIALTO_SERVER__LISTEN", "RIALTO_PORTS", "RIALTO_TOKENS", "RIALTO_"] {
        assert!(wrong("", &[(near, "1")], &[]).contains("is not a setting"), "{near}");
    }
}

#[test]
fn text_stays_text_and_numbers_booleans_and_lists_are_parsed() {
    let issuers = "[{ issuer = \"a\", jwks_url = \"https://a\" }]";
    let environment = [
        ("RIALTO_AUTH__AUDIENCE", "123"),
        ("RIALTO_AUTH__ISSUER", "\"quoted\""),
        ("RIALTO_DATA", "true"),
        ("RIALTO_INSECURE", "true"),
        ("RIALTO_LIMITS__MAX_STREAMS", "1_000"),
        ("RIALTO_AUTH__ISSUERS", issuers),
    ];
    let config = load_all("", &environment, &[("retention.seconds", "60")]).unwrap().config;
    assert_eq!((config.auth.audience.as_str(), config.auth.issuer.as_str()), ("123", "\"quoted\""));
    assert_eq!((config.data.to_str(), config.insecure, config.limits.max_streams), (Some("true"), true, 1_000));
    assert_eq!((config.auth.issuers[0].issuer.as_str(), config.retention.seconds), ("a", Limit(60)));
}

#[test]
fn every_problem_is_reported_at_once_with_its_name_its_value_and_its_source() {
    let file = "[http]\nmax_connections = 0\n\n[users]\nmax_readers = 1\n";
    let environment = [("RIALTO_LIMITS__MAX_STREAMS", "many"), ("RIALTO_HTTP__LIMIT_LOOPBACK", "1")];
    let error = wrong(file, &environment, &[("retention.seconds", "-1"), ("auth.mode", "maybe")]);
    for expected in [
        "http.max_connections = 0 (from ",
        "test.toml) must be a whole number from 1 to 1073741824",
        "users.max_readers (from ",
        "is not a setting; the nearest is storage.max_readers",
        "limits.max_streams = \"many\" (from RIALTO_LIMITS__MAX_STREAMS) must be a whole number from 1 to",
        "http.limit_loopback = 1 (from RIALTO_HTTP__LIMIT_LOOPBACK) must be true or false",
        "retention.seconds = -1 (from --set) must be a whole number from 0 to",
        "auth.mode = \"maybe\" (from --set) unknown variant `maybe`, expected `open` or `token`",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(error.lines().count(), 6, "{error}");
}

#[test]
fn every_number_is_refused_just_outside_of_its_range() {
    let mut ranges = 0;
    for setting in settings() {
        let Some(range) = &setting.range else { continue };
        ranges += 1;
        let below = range.start().checked_sub(1);
        let above = Some(range.end() + 1).filter(|above| i64::try_from(*above).is_ok());
        for value in below.into_iter().chain(above) {
            let error = wrong("", &[], &[(&setting.name(), &value.to_string())]);
            let expected = format!("{} = {value} (from --set) must be a whole number from", setting.name());
            assert!(error.contains(&expected), "{error}");
        }
    }
    let table = Config::default().to_table();
    let numbers = settings().filter(|setting| settings::value(&table, setting).is_some_and(toml::Value::is_integer));
    assert_eq!(ranges, numbers.count(), "every number has a range");
}

#[test]
fn relations_between_settings_are_checked() {
    for (flags, expected) in [
        (
            &[("limits.max_text_bytes", "70000")][..],
            "limits.max_chat_frame_bytes = 65536 must be at least limits.max_text_bytes, which is 70000",
        ),
        (&[("tls.key", "k")], "tls.cert must be set together with tls.key"),
        (&[("tls.client_ca", "c")], "tls.cert must be set together with tls.client_ca"),
        (&[("auth.audience", "")], "auth.audience (from --set) must not be empty"),
        (&[("auth.issuers", "[{}]")], "auth.issuers (from --set) must give each element an `issuer`"),
        (&[("retention.rooms", "{ A = {} }")], "retention.rooms (from --set) names the room \"A\""),
        (&[("listen", "0.0.0.0:1")], "listen = 0.0.0.0:1 (from --set) is not a loopback address"),
    ] {
        let error = wrong("", &[], flags);
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_line() {
    let error = wrong("listen = \n", &[], &[]);
    assert!(error.contains("test.toml is not valid TOML") && error.contains("line 1"), "{error}");
}
