/* usage: hello PORT            answers every request with the same 13 bytes: the cheapest app there can be
 *        hello PORT TARGET     carries bytes between its clients and 127.0.0.1:TARGET, one connection for each: what a
 *                              proxy costs that reads nothing and decides nothing
 * Requests are taken to arrive in one piece. One thread, epoll. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
    "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: hello\r\n\r\nHello, World!";
static int peer[65536];  // by descriptor; pump only

static int listening(int port) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr*)&at, sizeof at) != 0 || listen(fd, 511) != 0) exit(1);
  return fd;
}

static void watch(int epoll, int fd) {
  int one = 1;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char** argv) {
  static char buffer[65536];
  if (argc < 2) return 2;
  int target = argc > 2 ? atoi(argv[2]) : 0;
  int listener = listening(atoi(argv[1])), epoll = epoll_create1(0);
  watch(epoll, listener);
  for (;;) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        int client = accept(listener, NULL, NULL);
        if (target) {
          struct sockaddr_in to = {
              .sin_family = AF_INET, .sin_port = htons(target), .sin_addr = {htonl(INADDR_LOOPBACK)}};
          int app = socket(AF_INET, SOCK_STREAM, 0);
          if (connect(app, (struct sockaddr*)&to, sizeof to) != 0) exit(1);
          peer[client] = app, peer[app] = client;
          watch(epoll, app);
        }
        watch(epoll, client);
        continue;
      }
      ssize_t n = read(fd, buffer, sizeof buffer);
      int to = target ? peer[fd] : fd;
      if (n <= 0) {
        close(fd);
        if (target) close(to);
      } else if (write(to, target ? buffer : answer, target ? (size_t)n : sizeof answer - 1) < 0) {
        close(fd);
      }
    }
  }
}
