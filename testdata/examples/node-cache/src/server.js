const http = require("http");
const ms = require("ms");

const started = Date.now();
console.log("node-cache listens on 3000");
http.createServer((_, answer) => answer.end(`up for ${ms(Date.now() - started)}\n`)).listen(3000);
