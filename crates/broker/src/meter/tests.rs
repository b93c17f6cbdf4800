//! Streams and replies as providers send them, whole and in every pair of pieces.

use super::*;

const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":2000,"output_tokens":1}}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello \"usage\" is only a word here"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;

const RESPONSES: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"resp_1","usage":null}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Hello"}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":128},"output_tokens":52,"output_tokens_details":{"reasoning_tokens":40},"total_tokens":380}}}

"#;

const CHAT: &str = r#"data: {"id":"c","choices":[{"delta":{"content":"Hi"}}],"usage":null}

data: {"id":"c","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":9},"completion_tokens_details":{"reasoning_tokens":3}}}

data: [DONE]

"#;

const GEMINI: &str = "data: {\"candidates\":[],\"usageMetadata\":{\"promptTokenCount\":8,\
    \"candidatesTokenCount\":1}}\r\n\r\ndata: {\"candidates\":[],\"usageMetadata\":{\
    \"promptTokenCount\":8,\"cachedContentTokenCount\":3,\"candidatesTokenCount\":20,\
    \"thoughtsTokenCount\":30}}\r\n\r\n";

fn read(call: Call, is_stream: bool, pieces: &[&[u8]]) -> (Tokens, bool) {
    let mut meter = Meter::new(call, is_stream, 300);
    pieces.iter().for_each(|it| meter.feed(it));
    meter.finish();
    meter.tokens()
}

fn tokens(input: u64, cache_read: u64, cache_write: u64, output: u64, reasoning: u64) -> Tokens {
    Tokens {
        input,
        cache_read,
        cache_write,
        output,
        reasoning,
    }
}

#[test]
fn every_providers_stream_is_understood_however_it_is_cut() {
    for (call, text, wanted) in streams() {
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            let read = read(call, true, &[&bytes[..at], &bytes[at..]]);
            assert_eq!(read, (wanted, true), "{call:?} cut at {at}");
        }
    }
}

#[test]
fn whole_replies_are_understood() {
    let anthropic = br#"{"type":"message","usage":{"input_tokens":3,"output_tokens":4}}"#;
    assert_eq!(
        read(Call::Messages, false, &[anthropic]),
        (tokens(3, 0, 0, 4, 0), true)
    );
    let responses = br#"{"object":"response","usage":{"input_tokens":3,"output_tokens":4}}"#;
    assert_eq!(
        read(Call::Responses, false, &[responses]),
        (tokens(3, 0, 0, 4, 0), true)
    );
    let list = br#"[{"usageMetadata":{"promptTokenCount":8}},
        {"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":2}}]"#;
    assert_eq!(
        read(Call::Content, false, &[list]),
        (tokens(8, 0, 0, 2, 0), true)
    );
}

#[test]
fn a_cut_stream_is_estimated_and_says_so() {
    let cut = ANTHROPIC.split("event: message_delta").next().unwrap();
    let (tokens, exact) = read(Call::Messages, true, &[cut.as_bytes()]);
    assert!(!exact);
    assert_eq!((tokens.input, tokens.cache_read), (25, 2000));
    assert!(tokens.output > 1, "{tokens:?}");
    let (tokens, exact) = read(
        Call::Chat,
        true,
        &[b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n"],
    );
    assert_eq!((tokens.input, tokens.output, exact), (100, 2, false));
}

#[test]
fn the_estimate_grows_with_the_stream() {
    let mut meter = Meter::new(Call::Messages, true, 0);
    let event = format!(
        "data: {{\"delta\":{{\"text\":\"{}\"}}}}\n\n",
        "word ".repeat(100)
    );
    let mut last = 0;
    for _ in 0..10 {
        meter.feed(event.as_bytes());
        let (tokens, _) = meter.tokens();
        assert!(tokens.output >= last + 100);
        last = tokens.output;
    }
}

#[test]
fn what_is_malformed_or_endless_does_no_harm() {
    let mut meter = Meter::new(Call::Chat, true, 3);
    meter.feed(b"data: {\"usage\": oops\n");
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..20 {
        meter.feed(&piece);
    }
    meter.feed(b"\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n");
    assert!(meter.held.is_empty());
    assert_eq!(meter.tokens(), (tokens(1, 0, 0, 2, 0), true));
}

#[test]
fn what_is_no_work_takes_nothing() {
    assert_eq!(
        read(Call::Count, false, &[br#"{"input_tokens":2095}"#]),
        (Tokens::default(), true)
    );
}

/// Gemini with thoughts and a cache: the counts grow, and the last ones count.
const GEMINI_THINKING: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"**Reading\
    **\",\"thought\": true}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": \
    1520,\"totalTokenCount\": 1586,\"cachedContentTokenCount\": 1024,\"promptTokensDetails\": [{\
    \"modality\": \"TEXT\",\"tokenCount\": 1520}],\"thoughtsTokenCount\": 66},\"modelVersion\": \
    \"gemini-2.5-pro\"}\r\n\r\ndata: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Done.\"}],\
    \"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": \
    1520,\"candidatesTokenCount\": 12,\"totalTokenCount\": 1690,\"cachedContentTokenCount\": 1024,\
    \"toolUsePromptTokenCount\": 8,\"thoughtsTokenCount\": 150}}\r\n\r\n";

/// vLLM that tells its counts with every event, which only grow.
const VLLM: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"qwen","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":14,"total_tokens":14,"completion_tokens":0}}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"qwen","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":14,"total_tokens":15,"completion_tokens":1}}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"qwen","choices":[],"usage":{"prompt_tokens":14,"total_tokens":16,"completion_tokens":2}}

data: [DONE]

"#;

/// Ollama, asked for its counts: one last event without a choice.
const OLLAMA: &str = r#"data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}

data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}

data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":26,"completion_tokens":7,"total_tokens":33}}

data: [DONE]

"#;

/// Anthropic with a cache of two lifetimes, and all counts once more at the end.
const ANTHROPIC_CACHE: &str = r#"event: message_start
data: {"type":"message_start","message":{"model":"claude-opus-4-5","id":"msg_1","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":4104,"cache_read_input_tokens":13224,"cache_creation":{"ephemeral_5m_input_tokens":4000,"ephemeral_1h_input_tokens":104},"output_tokens":8,"service_tier":"standard"}}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me see"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":3,"cache_creation_input_tokens":4104,"cache_read_input_tokens":13224,"output_tokens":412}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// A reply that was not finished, with what it took all the same.
const RESPONSES_INCOMPLETE: &str = r#"event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":4,"delta":"Hel"}

event: response.incomplete
data: {"type":"response.incomplete","sequence_number":9,"response":{"id":"resp_1","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":960},"output_tokens":640,"output_tokens_details":{"reasoning_tokens":640},"total_tokens":1640}}}

"#;

/// Every stream, with what it took.
fn streams() -> [(Call, &'static str, Tokens); 9] {
    [
        (Call::Messages, ANTHROPIC, tokens(25, 2000, 100, 15, 0)),
        (
            Call::Messages,
            ANTHROPIC_CACHE,
            tokens(3, 13_224, 4_104, 412, 0),
        ),
        (Call::Responses, RESPONSES, tokens(200, 128, 0, 52, 40)),
        (
            Call::Responses,
            RESPONSES_INCOMPLETE,
            tokens(40, 960, 0, 640, 640),
        ),
        (Call::Chat, CHAT, tokens(10, 9, 0, 10, 3)),
        (Call::Chat, VLLM, tokens(14, 0, 0, 2, 0)),
        (Call::Chat, OLLAMA, tokens(26, 0, 0, 7, 0)),
        (Call::Content, GEMINI, tokens(5, 3, 0, 50, 30)),
        (
            Call::Content,
            GEMINI_THINKING,
            tokens(504, 1024, 0, 162, 150),
        ),
    ]
}

#[test]
fn what_providers_really_send_is_understood() {
    for (call, text, wanted) in streams() {
        assert_eq!(
            read(call, true, &[text.as_bytes()]),
            (wanted, true),
            "{text}"
        );
    }
}

#[test]
fn what_was_not_asked_to_tell_its_counts_is_estimated() {
    let silent: String = OLLAMA
        .split_inclusive("\n\n")
        .filter(|it| !it.contains("usage"))
        .collect();
    let (tokens, exact) = read(Call::Chat, true, &[silent.as_bytes()]);
    assert!(
        !exact && tokens.output > 0 && tokens.input == 100,
        "{tokens:?}"
    );
}

proptest::proptest! {
    /// However a stream is cut into pieces, and wherever it ends, it costs the same.
    #[test]
    fn the_bill_does_not_depend_on_how_a_stream_is_cut(
        which in 0_usize..9,
        end in 0_usize..4_096,
        cuts in proptest::collection::vec(1_usize..200, 0..80),
    ) {
        let (call, text, _) = streams()[which];
        let text = &text.as_bytes()[..end.min(text.len())];
        let whole = read(call, true, &[text]);
        let mut pieces = Vec::new();
        let mut rest = text;
        for cut in cuts {
            let (piece, more) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces.push(rest);
        proptest::prop_assert_eq!(read(call, true, &pieces), whole);
    }
}
