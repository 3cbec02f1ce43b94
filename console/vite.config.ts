import solid from "vite-plugin-solid";
import { defineConfig } from "vitest/config";

// Where `npm run dev` finds a running server.
const server = process.env["MIMAMORI_SERVER"] ?? "http://127.0.0.1:8000";

export default defineConfig({
  // relative addresses: the page works under whatever path http.public_url gives it
  base: "./",
  plugins: [solid()],
  build: {
    target: "es2022",
    // nothing as a data: address, which the page's Content-Security-Policy would refuse
    assetsInlineLimit: 0,
  },
  server: {
    proxy: {
      "/api": { target: server, ws: true, changeOrigin: true },
      "/livez": server,
    },
  },
  test: {
    environment: "node",
    include: ["src/**/*.test.ts"],
  },
});
