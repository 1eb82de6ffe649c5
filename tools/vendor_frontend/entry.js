// What the page uses, and nothing else: esbuild drops the rest.
export { h, render, Fragment, createRef } from "preact";
export { useEffect, useLayoutEffect, useRef, useState, useMemo, useCallback } from "preact/hooks";
export { signal, computed, effect, batch, untracked, useSignal, useComputed } from "@preact/signals";
import htm from "htm";
import { h } from "preact";
export const html = htm.bind(h);
