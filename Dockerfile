# caddis as an image that holds one file. In your own Dockerfile:
#
#   COPY --from=caddis /caddis /usr/local/bin/caddis
#   ENTRYPOINT ["caddis", "mount", "--"]
#   CMD ["npm", "start"]
#
# Coming from LiteFS, replace its COPY line and keep the rest:
#
#   COPY --from=caddis /caddis /usr/local/bin/litefs
#
# The binary is static: it runs on Debian, Alpine, distroless and in an empty image. No fuse package is needed.
FROM debian:bookworm AS build
WORKDIR /src
COPY . .
RUN ./dev build release

FROM scratch
COPY --from=build /src/build/release/caddis /caddis
ENTRYPOINT ["/caddis"]
