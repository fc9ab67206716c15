// The login: a user with a password, or a token. It is kept as long as the tab is open.

import { forgetLogin, giveLogin, loginHeaders, logins } from "./api.js";
import { byId, notify } from "./dom.js";

// By the name that a challenge has for it (WWW-Authenticate): the headers of a login.
const SCHEMES = {
  Basic: ({ user, password }) => ({ Authorization: `Basic ${base64(`${user}:${password}`)}` }),
  Bearer: ({ token }) => ({ Authorization: `Bearer ${token}` }),
  Keystone: ({ token }) => ({ "X-Auth-Token": token }),
};

export function setUpLogin() {
  const dialog = byId("login");
  const form = byId("login-form");
  const button = byId("login-open");
  let isDeclined = false;

  const isGiven = () => Object.keys(loginHeaders()).length > 0;

  function show() {
    button.hidden = false;
    button.textContent = isGiven() ? "Log out" : "Log in";
  }

  function offer(challenge) {
    const offered = Object.keys(SCHEMES).filter((scheme) => challenge.includes(`${scheme} `));
    for (const radio of form.elements.scheme) {
      radio.parentElement.hidden = offered.length > 0 && !offered.includes(radio.value);
    }
    byId("login-schemes").hidden = offered.length === 1;
    if (offered.length && !offered.includes(form.elements.scheme.value)) {
      form.elements.scheme.value = offered[0];
    }
    chooseScheme();
  }

  function chooseScheme() {
    const isBasic = form.elements.scheme.value === "Basic";
    byId("login-basic").hidden = !isBasic;
    byId("login-token").hidden = isBasic;
  }

  function ask() {
    dialog.showModal();
    form.querySelector("div:not([hidden]) > input").focus();
  }

  async function logIn() {
    const given = Object.fromEntries(new FormData(form));
    try {
      await giveLogin(SCHEMES[given.scheme](given));
    } catch (error) {
      notify(byId("login-notice"), error.message, "error");
      return;
    }
    form.elements.password.value = form.elements.token.value = "";
    notify(byId("login-notice"), "");
    dialog.close();
    show();
  }

  logins.addEventListener("needed", ({ detail }) => {
    if (isGiven()) {
      forgetLogin();
      isDeclined = false;
      notify(byId("login-notice"), "This login is not accepted any more.", "error");
    }
    show();
    if (dialog.open || isDeclined) return;
    offer(detail);
    ask();
  });
  button.addEventListener("click", () => {
    if (isGiven()) {
      forgetLogin();
      location.reload(); // nothing that was shown may stay
    } else ask();
  });
  form.addEventListener("change", chooseScheme);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    logIn();
  });
  dialog.addEventListener("close", () => {
    isDeclined = !isGiven();
  });
  byId("login-cancel").addEventListener("click", () => dialog.close());
  if (isGiven()) show();
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
