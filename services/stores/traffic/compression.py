"""Compression of an exchange's content: zstd with a dictionary of what chat requests and completions have in common.

In: JSON in UTF-8. Out: bytes, and a marker that says how they are read. The dictionary holds keys and words of OpenAI's form and no
recorded text. A changed dictionary gets a new marker, and the old one stays as long as there may be content that needs it.
"""

from functools import cache

import zstandard

AS_IT_IS = 0
"""Marker of content that compression would not make smaller."""
NEWEST = 1
LEVEL = 1  # level 3 saves another 1 % and takes a quarter more time
_COMMON = (  # a match near the end costs fewer bits: what is most common stands last
    " You are a helpful assistant. Answer the question. Respond only with valid JSON. Use the following context. "
    '{"type":"image_url","image_url":{"url":"data:image/png;sha256=;bytes=","detail":"auto"}},'
    '{"type":"input_audio","input_audio":{"data":"data:audio/wav;sha256=","format":"wav"}},'
    '{"type":"file","file":{"file_data":"data:application/pdf;sha256=","filename":"'
    '"response_format":{"type":"json_object"},"response_format":{"type":"json_schema","json_schema":{"name":"","strict":true,"schema":'
    '{"$defs":{"":{"$ref":"#/$defs/","anyOf":[{"type":"null"}],"title":"","default":"","format":"date-time",'
    '"parallel_tool_calls":true,"store":false,"metadata":{"session_id":""},"user":"","safety_identifier":"","prompt_cache_key":"",'
    '"service_tier":"auto","reasoning_effort":"medium","verbosity":"low","logprobs":false,"top_logprobs":0,"logit_bias":{},'
    '"chat_template_kwargs":{"enable_thinking":false},"structured_outputs":{"json":{"repetition_penalty":1.0,"min_p":0.0,"top_k":-1,'
    '"stop":["\\n"],"seed":0,"n":1,"presence_penalty":0.0,"frequency_penalty":0.0,"max_completion_tokens":1024,"top_p":0.95,'
    '"tool_choice":{"type":"function","function":{"name":"","tool_choice":"required","tool_choice":"auto",'
    '"tools":[{"type":"function","function":{"name":"search","description":"The name of the ","parameters":{"type":"object",'
    '"properties":{"query":{"type":"string","description":"","enum":["","limit":{"type":"integer","minimum":1,"maximum":100},'
    '"items":{"type":"array","items":{"type":"number"}},"enabled":{"type":"boolean"}},"required":[""],'
    '"additionalProperties":false},"strict":true}}],'
    '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,'
    '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_'
    '"stop_reason":null,"finish_reason":"content_filter"}],"finish_reason":"length"}],"refusal":"I\'m sorry, but I can\'t ","reasoning":"'
    '```json\\n{\\n  \\"\\": \\"\\",\\n```\\n\\n- **: \\n1. \\n\\n## '
    '{"role":"assistant","content":null,"tool_calls":[{"id":"call_","type":"function","function":{"name":"get_","arguments":"{\\"'
    '\\": \\"\\", \\"\\": [\\"\\"]}"}}]},{"role":"tool","content":"{\\"","tool_call_id":"call_"},"finish_reason":"tool_calls"}],'
    '"error":"upstream answered 400: ","response":null,"added":["request.messages[0]","request.temperature","request.max_tokens"],'
    '"left_out":["request","response"]}'
    '{"request":{"messages":[{"role":"developer","content":"'
    '{"request":{"messages":[{"role":"system","content":"You are '
    '"},{"role":"assistant","content":"'
    '"},{"role":"user","content":[{"type":"text","text":"'
    '"},{"role":"user","content":"'
    '"}],"temperature":0.0,"max_tokens":256},"response":{"id":"chatcmpl-'
    '","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"'
    '"},"finish_reason":"stop"}],"usage":{"prompt_tokens":'
    ',"total_tokens":'
    ',"completion_tokens":'
    '},"created":17'
    '},"added":[],"left_out":[]}'
)
_DICTIONARIES = {NEWEST: _COMMON}


class UnknownCompression(ValueError):
    """A newer version wrote this marker."""


class Compressor:
    """Keeps zstd's state between contents. For one thread at a time."""

    def __init__(self) -> None:
        dictionary = _dictionary(NEWEST)
        dictionary.precompute_compress(level=LEVEL)
        # AES-GCM finds every change, so no checksum; the marker names the dictionary
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, dict_data=dictionary, write_checksum=False, write_dict_id=False)

    def compressed(self, content: bytes) -> tuple[bytes, int]:
        """The bytes and their marker."""
        smaller = self._zstd.compress(content)
        return (smaller, NEWEST) if len(smaller) < len(content) else (content, AS_IT_IS)


class Decompressor:
    """Keeps zstd's state between contents. For one thread at a time."""

    def __init__(self) -> None:
        self._zstd: dict[int, zstandard.ZstdDecompressor] = {}

    def decompressed(self, held: bytes, marker: int) -> bytes:
        """The inverse. Raises UnknownCompression."""
        if marker == AS_IT_IS:
            return held
        if marker not in _DICTIONARIES:
            raise UnknownCompression(marker)
        if marker not in self._zstd:
            self._zstd[marker] = zstandard.ZstdDecompressor(dict_data=_dictionary(marker))
        return bytes(self._zstd[marker].decompress(held))


@cache
def _dictionary(marker: int) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(_DICTIONARIES[marker].encode(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
