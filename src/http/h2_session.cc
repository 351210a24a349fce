#include "http/h2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/check.h"
#include "http/parser.h"

namespace caddis::http {
namespace {

constexpr std::uint32_t kMaxNoise = 10'000;
constexpr std::uint32_t kMaxBrokenStreams = 200;
constexpr std::size_t kFieldOverhead = 32;  // as SETTINGS_MAX_HEADER_LIST_SIZE counts
constexpr std::size_t kMaxFrame = 64 * 1024;

std::string lower(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

// RFC 9113 8.2.2: what belongs to an HTTP/1 connection is not sent.
bool of_connection(std::string_view name) {
  for (std::string_view one :
       {"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Host"}) {
    if (equal_ignoring_case(name, one)) return true;
  }
  return false;
}

class Fields {
 public:
  void add(std::string name, std::string value) { list_.emplace_back(std::move(name), std::move(value)); }
  void add(const Headers& headers) {
    for (const Header& h : headers) {
      if (!of_connection(h.name)) add(lower(h.name), h.value);
    }
  }
  std::vector<nghttp2_nv> views() {
    std::vector<nghttp2_nv> out;
    out.reserve(list_.size());
    for (auto& [name, value] : list_) {
      out.push_back({reinterpret_cast<std::uint8_t*>(name.data()), reinterpret_cast<std::uint8_t*>(value.data()),
                     name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return out;
  }

 private:
  std::vector<std::pair<std::string, std::string>> list_;
};

H2Session& session_of(void* user) { return *static_cast<H2Session*>(user); }

}  // namespace

void ByteQueue::push(ByteView more) {
  if (begin_ > 0 && begin_ >= bytes_.size() / 2) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  append(bytes_, more);
}

std::size_t ByteQueue::pop(ByteSpan out) {
  std::size_t n = std::min(out.size(), size());
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(begin_), n, out.begin());
  begin_ += n;
  if (begin_ == bytes_.size()) {
    bytes_.clear();
    begin_ = 0;
  }
  return n;
}

void ByteQueue::clear() {
  Bytes().swap(bytes_);
  begin_ = 0;
}

std::string h2_error_text(std::uint32_t code) {
  return fmt::format("the stream was reset ({})", nghttp2_http2_strerror(code));
}

// nghttp2 calls these from feed() and take_output(). Nothing here resumes a coroutine or destroys the session.
struct H2Session::Callbacks {
  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) {
    session_of(user).head_in_progress_ = head->type == NGHTTP2_HEADERS;  // not called for CONTINUATION
    return 0;
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& s = session_of(user);
    if (s.side_ == Side::kServer && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      auto stream = std::make_shared<H2Stream>();
      stream->id = frame->hd.stream_id;
      stream->window_ = s.limits_.window_bytes;
      s.granted_ += stream->window_;
      s.streams_[stream->id] = std::move(stream);
    }
    return 0;
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                    const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
    H2Session& s = session_of(user);
    H2Stream* stream = s.find(frame->hd.stream_id);
    if (stream == nullptr) return 0;
    bool ok = s.add_field(*stream, as_text({name, name_size}), as_text({value, value_size}));
    return ok ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& s = session_of(user);
    H2Stream* stream = s.find(frame->hd.stream_id);
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        s.head_in_progress_ = false;
        if (stream != nullptr && ends) stream->in_ended = true;
        if (stream != nullptr) s.head_ended(*stream);
        return 0;
      case NGHTTP2_DATA:
        if (stream != nullptr && ends) {
          stream->in_ended = true;
          if (stream->on_in) stream->on_in();
          return 0;
        }
        if (frame->hd.length > 0) return 0;
        break;
      case NGHTTP2_GOAWAY:
        s.going_away_ = true;
        break;
      default:
        break;
    }
    return s.allow_noise() ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
                  void* user) {
    H2Session& s = session_of(user);
    s.noise_ = 0;
    nghttp2_session_consume_connection(s.session_, size);
    H2Stream* stream = s.find(id);
    if (stream == nullptr || stream->closed) {
      nghttp2_session_consume_stream(s.session_, id, size);
      return 0;
    }
    stream->in.push({bytes, size});
    s.buffered_ += size;
    if (stream->on_in) stream->on_in();
    return 0;
  }

  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t code, void* user) {
    session_of(user).head_in_progress_ = false;
    session_of(user).close(id, code);
    return 0;
  }

  static int frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& s = session_of(user);
    if (frame->hd.type == NGHTTP2_DATA && frame->hd.length > 0) s.noise_ = 0;
    if (frame->hd.type != NGHTTP2_RST_STREAM || s.side_ == Side::kClient) return 0;
    std::uint32_t code = frame->rst_stream.error_code;
    bool broken = code != NGHTTP2_NO_ERROR && code != NGHTTP2_CANCEL && code != NGHTTP2_REFUSED_STREAM;
    if (broken && ++s.broken_streams_ > kMaxBrokenStreams) s.go_away(NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
  }

  static ssize_t read_out(nghttp2_session*, std::int32_t, std::uint8_t* buffer, std::size_t size, std::uint32_t* flags,
                          nghttp2_data_source* source, void*) {
    auto& stream = *static_cast<H2Stream*>(source->ptr);
    std::size_t n = std::min(size, stream.out.size());
    if (n == 0 && !stream.out_last) return NGHTTP2_ERR_DEFERRED;
    std::copy_n(stream.out.begin(), n, buffer);
    stream.out = stream.out.subspan(n);
    if (!stream.out.empty()) return static_cast<ssize_t>(n);
    if (stream.out_last) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream.on_out) stream.on_out();
    return static_cast<ssize_t>(n);
  }

  static ssize_t frame_size(nghttp2_session*, std::uint8_t, std::int32_t, std::int32_t session_window,
                            std::int32_t stream_window, std::uint32_t max_frame, void*) {
    auto window = static_cast<std::size_t>(std::max(std::min(session_window, stream_window), 1));
    return static_cast<ssize_t>(std::min({window, std::size_t{max_frame}, kMaxFrame}));
  }
};

H2Session::H2Session(Side side, H2Limits limits, std::function<void(H2StreamPtr)> on_request)
    : side_(side), limits_(limits), on_request_(std::move(on_request)) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  CHECK_EQ(nghttp2_session_callbacks_new(&callbacks), 0);
  CHECK_EQ(nghttp2_option_new(&option), 0);
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, Callbacks::begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame_received);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::stream_closed);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Callbacks::frame_sent);
  nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, Callbacks::frame_size);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_max_reserved_remote_streams(option, 0);
  nghttp2_option_set_max_outbound_ack(option, 100);
  nghttp2_option_set_stream_reset_rate_limit(option, 200, 20);
  int rc = side == Side::kServer ? nghttp2_session_server_new2(&session_, callbacks, this, option)
                                 : nghttp2_session_client_new2(&session_, callbacks, this, option);
  CHECK_EQ(rc, 0);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_option_del(option);
  std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(limits.window_bytes)},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_streams},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(kMaxHead)}};
  if (side == Side::kClient) {
    settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
    settings.push_back({NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrame});
  }
  CHECK_EQ(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()), 0);
  auto window = static_cast<std::int32_t>(limits.connection_bytes);
  CHECK_EQ(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, window), 0);
}

H2Session::~H2Session() {
  nghttp2_session_del(session_);
  for (auto& [id, stream] : streams_) stream->closed = true;
}

H2Stream* H2Session::find(std::int32_t id) {
  auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second.get();
}

bool H2Session::allow_noise() { return ++noise_ <= kMaxNoise; }

// False when the head is so large that the connection has to end: its fields are decoded, kept or not.
bool H2Session::add_field(H2Stream& stream, std::string_view name, std::string_view value) {
  if (stream.head_complete) return ++noise_ <= kMaxNoise;  // a trailer
  stream.head_bytes_ += name.size() + value.size() + kFieldOverhead;
  if (stream.head_bytes_ > kMaxHead || stream.headers.size() >= kMaxFields) {
    stream.head_too_large = true;
    return stream.head_bytes_ <= 16 * kMaxHead;
  }
  if (name == ":method") {
    stream.method = value;
  } else if (name == ":scheme") {
    stream.scheme = value;
  } else if (name == ":authority") {
    stream.authority = value;
  } else if (name == ":path") {
    stream.path = value;
  } else if (name == ":status") {
    std::from_chars(value.data(), value.data() + value.size(), stream.status);
  } else if (name == "cookie" && stream.headers.has("cookie")) {  // RFC 9113 8.2.3: pieces of one field
    stream.headers.set("cookie", fmt::format("{}; {}", stream.headers.get("cookie"), value));
  } else {
    stream.headers.add(std::string(name), std::string(value));
  }
  return true;
}

void H2Session::head_ended(H2Stream& stream) {
  if (!stream.head_complete && side_ == Side::kClient && stream.status < 200) {  // 1xx
    stream.headers = {};
    stream.status = 0;
    return;
  }
  bool first = !std::exchange(stream.head_complete, true);
  if (first && side_ == Side::kServer) on_request_(streams_[stream.id]);
  if (stream.on_in) stream.on_in();
}

void H2Session::close(std::int32_t id, std::uint32_t code) {
  auto it = streams_.find(id);
  if (it == streams_.end()) return;
  H2StreamPtr stream = std::move(it->second);
  streams_.erase(it);
  granted_ -= stream->window_;
  stream->closed = true;
  stream->error_code = code;
  stream->out = {};
  if (stream->on_in) stream->on_in();
  if (stream->on_out) stream->on_out();
}

void H2Session::abandon() {
  going_away_ = true;
  while (!streams_.empty()) close(streams_.begin()->first, NGHTTP2_CANCEL);
}

Status H2Session::feed(ByteView bytes) {
  ssize_t n = nghttp2_session_mem_recv(session_, bytes.data(), bytes.size());
  if (n == NGHTTP2_ERR_CALLBACK_FAILURE) {
    go_away(NGHTTP2_ENHANCE_YOUR_CALM);
    return corrupt("http/2: more frames, or larger heads, than are allowed");
  }
  if (n < 0) {
    going_away_ = true;
    return corrupt("http/2: {}", nghttp2_strerror(static_cast<int>(n)));
  }
  return {};
}

void H2Session::take_output(Bytes& out, std::size_t limit) {
  while (out.size() < limit) {
    const std::uint8_t* bytes = nullptr;
    ssize_t n = nghttp2_session_mem_send(session_, &bytes);
    if (n <= 0) return;
    append(out, {bytes, static_cast<std::size_t>(n)});
  }
}

bool H2Session::finished() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

void H2Session::answer(H2Stream& stream, int status, const Headers& headers, bool end) {
  if (stream.closed) return;
  Fields fields;
  fields.add(":status", std::to_string(status));
  fields.add(headers);
  std::vector<nghttp2_nv> list = fields.views();
  nghttp2_data_provider body{{.ptr = &stream}, Callbacks::read_out};
  int rc = nghttp2_submit_response(session_, stream.id, list.data(), list.size(), end ? nullptr : &body);
  if (rc != 0) reset(stream, NGHTTP2_INTERNAL_ERROR);
}

void H2Session::interim(H2Stream& stream, int status) {
  if (stream.closed) return;
  Fields fields;
  fields.add(":status", std::to_string(status));
  std::vector<nghttp2_nv> list = fields.views();
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id, nullptr, list.data(), list.size(), nullptr);
}

Result<H2StreamPtr> H2Session::request(const std::string& method, bool tls, const std::string& authority,
                                       const std::string& target, const Headers& headers, bool end) {
  if (going_away_) return make_error(ErrorCode::kUnavailable, "the connection takes no more requests");
  Fields fields;
  fields.add(":method", method);
  fields.add(":scheme", tls ? "https" : "http");
  fields.add(":authority", authority);
  fields.add(":path", target);
  fields.add(headers);
  std::vector<nghttp2_nv> list = fields.views();
  auto stream = std::make_shared<H2Stream>();
  nghttp2_data_provider body{{.ptr = stream.get()}, Callbacks::read_out};
  std::int32_t id = nghttp2_submit_request(session_, nullptr, list.data(), list.size(), end ? nullptr : &body, nullptr);
  if (id < 0) {
    going_away_ = true;  // out of stream ids
    return make_error(ErrorCode::kUnavailable, "the connection takes no more requests: {}", nghttp2_strerror(id));
  }
  stream->id = id;
  stream->window_ = limits_.window_bytes;
  granted_ += stream->window_;
  streams_[id] = stream;
  return stream;
}

void H2Session::write(H2Stream& stream, ByteView data, bool last) {
  if (stream.closed) return;
  stream.out = data;
  stream.out_last = last;
  nghttp2_session_resume_data(session_, stream.id);
}

std::size_t H2Session::read(H2Stream& stream, ByteSpan out) {
  std::size_t n = stream.in.pop(out);
  buffered_ -= n;
  if (stream.closed || n == 0) return n;
  // A reader that has taken all is quicker than the window lets the other side send.
  std::size_t spare = limits_.connection_bytes > granted_ ? limits_.connection_bytes - granted_ : 0;
  std::size_t larger = std::min({2 * stream.window_, limits_.max_window_bytes, stream.window_ + spare});
  if (stream.in.size() == 0 && n >= stream.window_ / 4 && larger > stream.window_) {
    auto window = static_cast<std::int32_t>(larger);
    if (nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, stream.id, window) == 0) {
      granted_ += larger - stream.window_;
      stream.window_ = larger;
    }
  }
  nghttp2_session_consume_stream(session_, stream.id, n);
  return n;
}

void H2Session::forget(H2Stream& stream) {
  buffered_ -= stream.in.size();
  stream.in.clear();
}

void H2Session::reset(H2Stream& stream, std::uint32_t code) {
  forget(stream);
  stream.out = {};
  if (!stream.closed) nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id, code);
}

void H2Session::go_away(std::uint32_t code) {
  if (code == NGHTTP2_NO_ERROR && std::exchange(going_away_, true)) return;
  going_away_ = true;
  if (code == NGHTTP2_NO_ERROR) {
    std::int32_t last = nghttp2_session_get_last_proc_stream_id(session_);
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last, code, nullptr, 0);
  } else {
    nghttp2_session_terminate_session(session_, code);
  }
}

}  // namespace caddis::http
